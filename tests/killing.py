"""Kills real processes that work on a job, at chosen phases and random moments, and starts the job again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forking
import jobfiles
import toy

from patchvsr.jobs.folder import JobFolder

# Up to how long after a phase has begun the process is killed, in seconds.
LONGEST_WAIT_S = {"start": 0.1, "scan": 0.1, "units": 0.6, "assembling": 0.03, "publishing": 0.004}


def work(source: Path, target: Path, settings: dict[str, Any], told: Connection) -> None:
    """One life of a job, in a process of its own; says which kinds of events come."""
    for event in jobfiles.events(source, target, toy.pipeline(num_inference_steps=1), **settings):
        told.send(type(event).__name__)


class Killer:
    """kills: how many there were by phase; only those count that hit a living process."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def run(self, source: Path, target: Path, **settings: Any) -> float:
        """The same without a kill; returns seconds."""
        started_at = time.monotonic()
        process, _ = self._start(source, target, settings)
        code = forking.ended(process)
        assert code == 0, f"the job ended with {code}"
        return time.monotonic() - started_at

    def run_killed(self, phases: Iterable[str], source: Path, target: Path, **settings: Any) -> None:
        """One job, killed once in each phase as long as it is not finished; then it may finish."""
        for phase in phases:
            if self._killed(phase, source, target, settings):
                self.kills[phase] += 1
        self.run(source, target, **settings)

    def kill_after(self, seconds: float, source: Path, target: Path, **settings: Any) -> bool:
        """One life of a job, killed after a time; False if it had finished before."""
        process, _ = self._start(source, target, settings)
        process.join(seconds)
        process.kill()
        code = forking.ended(process)
        assert code in (0, -9), f"the job ended with {code} by itself"
        return code == -9

    def _killed(self, phase: str, source: Path, target: Path, settings: dict[str, Any]) -> bool:
        result = JobFolder(target).path / "result.json"
        before = _changed_at(result)  # an earlier life may have written one: it says nothing about this life
        process, told = self._start(source, target, settings)
        self._wait_for(phase, process, told, lambda: _changed_at(result) != before)
        time.sleep(self._random.uniform(0, LONGEST_WAIT_S[phase]))
        process.kill()
        code = forking.ended(process)
        assert code in (0, -9), f"the job ended with {code} by itself"
        return code == -9

    def _start(self, source: Path, target: Path, settings: dict[str, Any]) -> tuple[BaseProcess, Connection]:
        told, teller = forking.context().Pipe(duplex=False)
        process = forking.start(work, source, target, settings, teller)
        teller.close()
        return process, told

    def _wait_for(self, phase: str, process: BaseProcess, told: Connection, has_result: Callable[[], bool]) -> None:
        awaited = {"scan": ("Scanning", "Planned"), "units": ("Planned",), "assembling": ("Assembling",)}.get(phase, ())
        while process.is_alive():
            if phase == "start" or (phase == "publishing" and has_result()):
                return
            try:
                if told.poll(0 if phase == "publishing" else 1) and told.recv() in awaited:
                    return
            except EOFError:
                return


def _changed_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None
