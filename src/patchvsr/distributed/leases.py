"""Decide who restores which unit: rows of units that follow each other stay together, long rows first."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection
from itertools import accumulate

from patchvsr.jobs.plan import Unit

MOST_FAILURES = 3
# A machine that is taken away says nothing about its unit, but a unit may also be what ends its workers.
MOST_LOSSES = 10


class Leases:
    """The units that are not done, and the workers that have them.

    Units of a shot that are free and follow each other are a row. A worker goes on with the row behind its unit, whose
    state it has. Otherwise it begins the longest row, so that no long shot is left over at the end. If the longest is
    one that another worker goes on with, it begins in the middle, provided that its units need nothing of each other.
    """

    def __init__(self, units: list[Unit], done: Collection[int]) -> None:
        self._units, self._done = units, set(done)
        self._holders: dict[int, str] = {}
        self._failures: defaultdict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._losses: defaultdict[int, list[str]] = defaultdict(list)
        self._frames_before = [0, *accumulate(len(unit.frames) for unit in units)]
        self._rows: dict[int, int] = {}  # the first unit of each row, and the one after its last
        self._ready: list[tuple[int, int]] = []  # a heap: frames that could be begun, negative; the first unit of a row
        for unit in reversed(units):
            if unit.number not in self._done:
                self._add(unit.number)
        for first in self._rows:
            self._offer(first)

    @property
    def all_done(self) -> bool:
        return len(self._done) == len(self._units)

    @property
    def any_free(self) -> bool:
        return bool(self._rows)

    def is_done(self, number: int) -> bool:
        return number in self._done

    def lacks_previous(self, number: int) -> bool:
        """Return whether a unit needs what one hands over that is not done, so that it cannot be restored yet."""
        return self._units[number].needs_previous and number - 1 not in self._done

    def suits(self, number: int, workers: Collection[str]) -> bool:
        """Return whether any of these workers could begin a unit now and has not failed on it."""
        tried = self._failures.get(number, {})
        return not self.lacks_previous(number) and any(worker not in tried for worker in workers)

    def take(self, worker: str, others: Collection[str], *, after: int | None = None) -> Unit | None:
        """Lease a unit to a worker, None if there is none for it now.

        others: the other workers. A unit that failed on this worker is left to those that have not tried it.
        after: the unit that the worker restores now, or restored last. If the next one is of its shot, it comes first;
            it may wait behind it.
        """
        number = None if after is None else after + 1
        if number is None or not self._goes_on(number) or self._is_for_others(number, worker, others):
            number = self._longest(worker, others)
        if number is None:
            return None
        self._holders[number] = worker
        self._remove(number)
        return self._units[number]

    def finish(self, number: int) -> bool:
        """Mark a unit as done. Returns False if it was done before, by another worker."""
        new, held = number not in self._done, self._holders.pop(number, None) is not None
        self._done.add(number)
        if new and not held:  # done by a worker that was thought to be lost
            self._remove(number)
        self._offer(number + 1)
        return new

    def give_back(self, number: int, worker: str) -> None:
        """Take back a unit that a worker has not begun."""
        if self._holders.get(number) == worker:
            del self._holders[number]
            self._add(number)
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

    # --- rows -----------------------------------------------------------------------------------------------

    def _goes_on(self, number: int) -> bool:
        """Return whether a unit is free and of the same shot as the one before it."""
        return number in self._rows and self._units[number].continues

    def _longest(self, worker: str, others: Collection[str]) -> int | None:
        """Return the unit to begin of the row with the most frames, None if there is none for this worker."""
        skipped, found = [], None
        while self._ready and found is None:
            item = heapq.heappop(self._ready)
            frames, first = -item[0], item[1]
            if first not in self._rows or self._frames_from(self._start(first), first) != frames:
                continue  # the row has changed since, and was offered again
            if self._is_for_others(self._start(first), worker, others):
                skipped.append(item)
            else:
                found = self._start(first)
        for item in skipped:
            heapq.heappush(self._ready, item)
        return found

    def _start(self, first: int) -> int:
        """Return the unit with which to begin a row: its middle if another worker will go on with the first."""
        followed = self._units[first].continues and first - 1 in self._holders
        return (first + self._rows[first]) // 2 if followed else first

    def _frames_from(self, number: int, first: int) -> int:
        """Return the number of frames from a unit to the end of its row."""
        return self._frames_before[self._rows[first]] - self._frames_before[number]

    def _is_for_others(self, number: int, worker: str, others: Collection[str]) -> bool:
        tried = self._failures.get(number, {})
        return worker in tried and any(other not in tried for other in others)

    def _add(self, number: int) -> None:
        """Add a free unit in front of the row that goes on from it, if there is one."""
        following = number + 1
        self._rows[number] = self._rows.pop(following) if self._goes_on(following) else following

    def _remove(self, number: int) -> None:
        """Take a unit out of its row, whose parts before and behind it stay."""
        first = number if number in self._rows else self._row_of(number)
        stop = self._rows.pop(first)
        if first < number:
            self._rows[first] = number
            self._offer(first)
        if number + 1 < stop:
            self._rows[number + 1] = stop
            self._offer(number + 1)

    def _row_of(self, number: int) -> int:
        """Return the first unit of the row that a free unit is in."""
        return next(first for first, stop in self._rows.items() if first <= number < stop)

    def _offer(self, first: int) -> None:
        """Put a row among those that can be begun, if it can."""
        if first in self._rows and not self.lacks_previous(first):
            heapq.heappush(self._ready, (-self._frames_from(self._start(first), first), first))
