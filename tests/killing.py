"""Kills real processes that work on a job, at chosen phases and random moments, and starts the job again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forking
import jobfiles
import toy

from patchvsr.jobs.folder import JobFolder

# Up to how long after a phase has begun the process is killed, in seconds.
LONGEST_WAIT_S = {"start": 0.1, "scan": 0.1, "units": 0.2, "assembling": 0.03, "publishing": 0.004}


# The events with which a phase begins; "start" begins with the process, "publishing" when there is a new result.
BEGINS = {"scan": ("Scanning", "Planned"), "units": ("Planned",), "assembling": ("Assembling",)}


def work(source: Path, target: Path, settings: dict[str, Any], phase: str | None = None, wait_s: float = 0.0) -> None:
    """One life of a job, in a process of its own, which ends in a phase, if one is named.

    A thread of its own kills it, as another process that gets no time on a busy machine would come too late.
    """
    result = JobFolder(target).path / "result.json"
    before = _changed_at(result)  # an earlier life may have written one: it says nothing about this life
    begun = threading.Event()

    def kill() -> None:
        if phase == "publishing":
            while _changed_at(result) == before:
                time.sleep(0.0005)
        else:
            begun.wait()
        time.sleep(wait_s)
        os.kill(os.getpid(), signal.SIGKILL)

    if phase is not None:
        threading.Thread(target=kill, daemon=True).start()
    if phase == "start":
        begun.set()
    for event in jobfiles.events(source, target, toy.pipeline(num_inference_steps=1), **settings):
        if type(event).__name__ in BEGINS.get(phase or "", ()):
            begun.set()


class Killer:
    """kills: how many there were by phase; only those count that hit a living process."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def run(self, source: Path, target: Path, **settings: Any) -> float:
        """The same without a kill; returns seconds."""
        started_at = time.monotonic()
        code = forking.ended(forking.start(work, source, target, settings))
        assert code == 0, f"the job ended with {code}"
        return time.monotonic() - started_at

    def run_killed(self, phases: Iterable[str], source: Path, target: Path, **settings: Any) -> None:
        """One job, killed once in each phase as long as it is not finished; then it may finish."""
        for phase in phases:
            wait_s = self._random.uniform(0, LONGEST_WAIT_S[phase])
            if _was_killed(forking.start(work, source, target, settings, phase, wait_s)):
                self.kills[phase] += 1
        self.run(source, target, **settings)

    def kill_after(self, seconds: float, source: Path, target: Path, **settings: Any) -> bool:
        """One life of a job, killed after a time; False if it had finished before."""
        process = forking.start(work, source, target, settings)
        process.join(seconds)
        process.kill()
        return _was_killed(process)


def _was_killed(process: BaseProcess) -> bool:
    code = forking.ended(process)
    assert code in (0, -signal.SIGKILL), f"the job ended with {code} by itself"
    return code != 0


def _changed_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None
