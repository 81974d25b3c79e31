"""Workers of a cluster that only take time, on a clock of their own: for what the driver does with them."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable
from typing import Any

from patchvsr.distributed.drafts import Draft
from patchvsr.distributed.fleet import Call, Fleet, Member
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
                answers_at, answer = self._restored(member, job, about, arguments[1])
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

    def _restored(self, member: Member, job: int, number: int, handover: bytes | None) -> tuple[float, Draft]:
        name, units = self._begun[job]
        unit, goes_on = units[number], self._last.get(member.name) == (job, number - 1)
        if unit.needs_previous:
            assert goes_on if handover is None else handover == self._segment(name, number - 1), (
                "would be restored from nothing"
            )
        seconds = self._unit_s * self._chance.uniform(0.5, 2)
        if unit.warm_up and not goes_on:
            seconds += self._unit_s * (unit.frames.start - unit.warm_up[0].start) / len(unit.frames)
            self.begun_inside += 1
        self._last[member.name] = job, number
        begins = self._begins[member.name, job, number] = max(self.clock_s, self._free_at.get(member.name, 0.0))
        self._free_at[member.name] = begins + seconds
        segment = self._segment(name, number)
        record = UnitRecord(SegmentTable([0], [len(segment)], [True], [0]), {"seconds": seconds})
        needed = any(following.needs_previous for following in units[number + 1 : number + 2])
        draft = Draft(number, record, segment, segment if needed else None, hashlib.sha256(segment).hexdigest())
        return self._free_at[member.name], draft
