"""Kills real processes that work on a job, at chosen phases and random moments, and starts the job again."""

from __future__ import annotations

import os
import random
import signal
import sys
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

# A phase is killed after up to so many calls and returns of Python functions in it: fewer than the phase has.
LONGEST_LIFE = {"start": 1_500, "scan": 30_000, "units": 100_000, "assembling": 10_000, "publishing": 500}
# The events with which a phase begins; "start" begins with the process, "publishing" when there is a new result.
BEGINS = {"scan": ("Scanning", "Planned"), "units": ("Planned",), "assembling": ("Assembling",)}


def work(source: Path, target: Path, settings: dict[str, Any], phase: str | None = None, life: int = 0) -> None:
    """One life of a job, in a process of its own, which ends in a phase, if one is named.

    It ends after a number of calls instead of a time, as a busy machine takes any time for a phase.
    """
    result = JobFolder(target).path / "result.json"
    before = _changed_at(result)  # an earlier life may have written one: it says nothing about this life
    begun, left = phase == "start", life

    def count(*_: Any) -> None:
        nonlocal begun, left
        if phase == "publishing" and not begun:
            begun = _changed_at(result) != before
        left -= begun
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    pipeline = toy.pipeline(num_inference_steps=1)
    if phase is not None:
        sys.setprofile(count)
    for event in jobfiles.events(source, target, pipeline, **settings):
        if type(event).__name__ in BEGINS.get(phase or "", ()):
            begun = True
    sys.setprofile(None)


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
            life = self._random.randrange(LONGEST_LIFE[phase])
            if _was_killed(forking.start(work, source, target, settings, phase, life)):
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
