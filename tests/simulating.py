"""Workers of a cluster that only take time, on a clock of their own: for what the driver does with them."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from patchvsr.distributed.drafts import Draft
from patchvsr.distributed.fleet import Call, Fleet, Member
from patchvsr.distributed.pieces import Piece
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.distributed.worker import Begun, Dropped, Loaded
from patchvsr.jobs.folder import UnitRecord
from patchvsr.jobs.plan import Unit
from patchvsr.media.segment import SegmentTable
from patchvsr.settings import UpscaleSettings


class SimulatedFleet(Fleet):
    """Workers that answer after the time a unit would take, on a clock that jumps to the next answer.

    segment: makes what a unit is encoded to, from the name of its input and its number.
    """

    def __init__(self, workers: int, unit_s: float, segment: Callable[[str, int], bytes], seed: int = 0) -> None:
        super().__init__(ClusterSettings(), UpscaleSettings().restore, {})
        self._unit_s, self._segment = unit_s, segment
        self._chance, self.clock_s, self.begun_inside = random.Random(seed), 0.0, 0
        self._begun: dict[int, tuple[str, list[Unit]]] = {}  # name of the input, and units, by job
        self._free_at: dict[str, float] = {}
        self._begins: dict[tuple[str, int, int], float] = {}  # by worker, job and unit
        self._last: dict[str, tuple[int, int]] = {}
        self._parts: dict[tuple[str, int, int], list[str]] = {}  # names of the files of a unit
        self._handed: dict[tuple[str, int], bytes] = {}  # what a worker was sent of the unit before
        self._answers: list[tuple[float, int, Call, Any]] = []
        self._number = 0
        for _ in range(workers):
            self.add()

    def add(self) -> None:
        """A worker on a node of its own."""
        self._count += 1
        name = f"node{self._count}/{self._count}"
        self.members[name] = Member(name, str(self._count), f"node{self._count}", None, Loaded({}, "simulated"))

    def refresh(self) -> None:
        pass

    def put(self, value: Any) -> Any:
        return value

    def call(self, member: Member, method: str, *arguments: Any, job: int = 0, about: int = -1) -> None:
        answer: Any = None
        answers_at = self.clock_s
        match method:
            case "begin":
                if job not in self._begun:
                    self._begun[job] = arguments[0].input.name, arguments[0].manifest.units()
                answer = Begun(has_input=True, shares=False)
            case "progress":
                answer = None
            case "restore":
                answers_at, answer = self._restored(member, job, about)
            case "send":
                answer = self._piece(member, job, *arguments)
            case "accept":
                self._handed.setdefault((member.name, job), b"")
                self._handed[member.name, job] += arguments[0].data
            case "drop" if self._begins.get((member.name, job, about), 0.0) > self.clock_s:
                answer = True
                self._free_at[member.name] = self._begins.pop((member.name, job, about))
        self._number += 1
        heapq.heappush(self._answers, (answers_at, self._number, Call(member, method, about, job), answer))

    def answers(self, seconds: float) -> Iterable[tuple[Call, Any]]:
        """Yield all answers of the next hundredth of a second."""
        if self._answers:
            self.clock_s = max(self.clock_s, self._answers[0][0])
        while self._answers and self._answers[0][0] <= self.clock_s + 0.01:
            _, _, call, answer = heapq.heappop(self._answers)
            dropped = call.method == "restore" and (call.member.name, call.job, call.about) not in self._begins
            if call.member.name in self.members:
                yield call, Dropped() if dropped else answer

    def _kill(self, member: Member) -> None:
        pass

    def _restored(self, member: Member, job: int, number: int) -> tuple[float, Draft]:
        name, units = self._begun[job]
        unit, goes_on = units[number], self._last.get(member.name) == (job, number - 1)
        if unit.needs_previous and not goes_on:
            handed = self._handed.pop((member.name, job), None)
            assert handed == self._segment(name, number - 1), "would be restored from nothing"
        seconds = self._unit_s * self._chance.uniform(0.5, 2)
        if unit.warm_up and not goes_on:
            seconds += self._unit_s * (unit.frames.start - unit.warm_up[0].start) / len(unit.frames)
            self.begun_inside += 1
        self._last[member.name] = job, number
        begins = self._begins[member.name, job, number] = max(self.clock_s, self._free_at.get(member.name, 0.0))
        self._free_at[member.name] = begins + seconds
        segment = self._segment(name, number)
        record = UnitRecord(SegmentTable([0], [len(segment)], [True], [0]), {"seconds": seconds})
        file, handover = (Path(f"unit-{number:05d}.{kind}.{self._number:08x}.tmp") for kind in ("bin", "safetensors"))
        needed = any(following.needs_previous for following in units[number + 1 : number + 2])
        parts = [file, handover] if needed else [file]
        self._parts[member.name, job, number] = [part.name for part in parts]
        digest = hashlib.sha256(segment).hexdigest()
        draft = Draft(number, record, file, handover if needed else None, digest, pieces=2 * len(parts))
        return self._free_at[member.name], draft

    def _piece(self, member: Member, job: int, number: int, index: int) -> Piece:
        """Return one half of a file: what a unit hands over is the same as its segment."""
        data, (part, second) = self._segment(self._begun[job][0], number), divmod(index, 2)
        half = len(data) // 2
        name = self._parts[member.name, job, number][part]
        return Piece(name, half, data[half:]) if second else Piece(name, 0, data[:half])
