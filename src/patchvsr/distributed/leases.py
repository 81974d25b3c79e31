"""Decide who restores which unit: in order inside a shot, shots in parallel, again after a failure."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection

from patchvsr.jobs.plan import Unit

MOST_FAILURES = 3
# A machine that is taken away says nothing about its unit, but a unit may also be what ends its workers.
MOST_LOSSES = 10


class Leases:
    """The units that are not done, and the workers that have them.

    The longest row of units that need each other comes first, so that no long shot is left over at the end.
    """

    def __init__(self, units: list[Unit], done: Collection[int]) -> None:
        self._units, self._done = units, set(done)
        self._holders: dict[int, str] = {}
        self._failures: defaultdict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._losses: defaultdict[int, list[str]] = defaultdict(list)
        self._frames_behind = self._count_frames_behind()
        self._ready: list[tuple[int, int]] = []
        for unit in units:
            self._offer(unit.number)

    @property
    def all_done(self) -> bool:
        return len(self._done) == len(self._units)

    @property
    def any_ready(self) -> bool:
        return bool(self._ready)

    def is_done(self, number: int) -> bool:
        return number in self._done

    def lacks_previous(self, number: int) -> bool:
        """Return whether a unit goes on from one that is not done, so that it cannot be restored yet."""
        return self._units[number].continues and number - 1 not in self._done

    def suits(self, number: int, workers: Collection[str]) -> bool:
        """Return whether any of these workers could begin a unit now and has not failed on it."""
        tried = self._failures.get(number, {})
        return not self.lacks_previous(number) and any(worker not in tried for worker in workers)

    def take(self, worker: str, others: Collection[str], *, after: int | None = None) -> Unit | None:
        """Lease a unit to a worker, None if there is none for it now.

        others: the other workers. A unit that failed on this worker is left to those that have not tried it.
        after: the unit that the worker restores now. The next one of its shot may then wait behind it.
        """
        number = None if after is None else after + 1
        if number is None or not self._may_follow(number):
            number = self._pop(worker, others)
        if number is None:
            return None
        self._holders[number] = worker
        return self._units[number]

    def finish(self, number: int) -> bool:
        """Mark a unit as done. Returns False if it was done before, by another worker."""
        new = number not in self._done
        self._done.add(number)
        self._holders.pop(number, None)
        if new and number + 1 < len(self._units):
            self._offer(number + 1)
        return new

    def give_back(self, number: int, worker: str) -> None:
        """Take back a unit that a worker has not begun."""
        if self._holders.get(number) == worker:
            del self._holders[number]
            self._offer(number)

    def fail(self, number: int, worker: str, reason: str) -> str | None:
        """Take back a unit that failed. Returns all reasons in one line once it has failed too often."""
        self._failures[number][worker].append(reason)
        self.give_back(number, worker)
        reasons = [f"{reason} (on {name})" for name, all_ in self._failures[number].items() for reason in all_]
        return "; ".join(dict.fromkeys(reasons)) if len(reasons) >= MOST_FAILURES else None

    def lose(self, number: int, worker: str, reason: str) -> str | None:
        """Take back a unit whose worker was lost while restoring it. Returns the reasons after too many losses."""
        self._losses[number].append(f"{worker} was lost ({reason})")
        self.give_back(number, worker)
        return "; ".join(self._losses[number]) if len(self._losses[number]) >= MOST_LOSSES else None

    def _count_frames_behind(self) -> list[int]:
        """Return, for each unit, its frames and those of all units that must wait for it."""
        counts, behind = [0] * len(self._units), 0
        for unit in reversed(self._units):
            counts[unit.number] = behind = len(unit.frames) + behind
            if not unit.continues:
                behind = 0
        return counts

    def _offer(self, number: int) -> None:
        """Put a unit among those that can be leased, if it can."""
        if not self.lacks_previous(number) and number not in self._done and number not in self._holders:
            heapq.heappush(self._ready, (-self._frames_behind[number], number))

    def _may_follow(self, number: int) -> bool:
        """Return whether a unit can wait behind the one before it, which hands over to it, on the same worker."""
        free = number < len(self._units) and number not in self._holders and number not in self._done
        return free and self.lacks_previous(number)

    def _pop(self, worker: str, others: Collection[str]) -> int | None:
        skipped, found = [], None
        while self._ready and found is None:
            item = heapq.heappop(self._ready)
            number = item[1]
            if number in self._done or number in self._holders:
                continue  # offered twice, or done by a worker that was thought to be lost
            tried = self._failures.get(number, {})
            if worker in tried and any(other not in tried for other in others):
                skipped.append(item)
            else:
                found = number
        for item in skipped:
            heapq.heappush(self._ready, item)
        return found
