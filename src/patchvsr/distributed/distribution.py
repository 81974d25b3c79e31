"""One job on the workers of a cluster: hand out its units, publish what comes back, and go on after failures."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from patchvsr import files
from patchvsr.distributed.drafts import PROBE, Draft, Drafts, discard, publish, same_bytes
from patchvsr.distributed.fleet import Call, Fleet, Member
from patchvsr.distributed.inputs import InputServer, ServedInput
from patchvsr.distributed.leases import Leases
from patchvsr.distributed.worker import Begun, Dropped, Failure
from patchvsr.errors import JobError
from patchvsr.events import Event, Notice, Progress, Workers, WorkerState
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.plan import Unit
from patchvsr.jobs.work import Stop, Work
from patchvsr.media.images.names import is_sequence

STATUS_S = 1.0  # how often workers are asked and shown; longer for hundreds of them
AHEAD = 2  # units of a worker: one that it restores, and one to go on with


class Distribution:
    """What the driver knows of a job while workers restore its units.

    The loop over these methods is in `Cluster.restore`.
    """

    def __init__(self, fleet: Fleet, work: Work, folder: JobFolder, stop: Stop | None) -> None:
        fleet.job += 1
        self._fleet, self._folder, self._stop = fleet, folder, stop
        self._units = work.manifest.units()
        self._leases = Leases(self._units, [unit.number for unit in self._units if folder.is_done(unit.number)])
        self._frames_done = sum(len(unit.frames) for unit in self._units if self._leases.is_done(unit.number))
        self._frames = len(work.manifest.scan.pts)
        self._token, self._probe = uuid.uuid4().hex[:8], uuid.uuid4().hex
        files.write_durably(folder.path / PROBE, self._probe.encode())

        path = work.input.absolute()
        is_folder = is_sequence(path) and path.is_dir()
        self._served = ServedInput(path, work.manifest.identity["input"], is_folder)
        self._input = InputServer(path, fleet.put)
        self._feeding: dict[str, Member] = {}  # by node, as its workers share what it receives
        self._unfed: defaultdict[str, list[Member]] = defaultdict(list)

        self._work = fleet.put(work)
        self._begun: set[str] = set()
        self._asked_back: set[int] = set()
        self._stopping, self._error = False, ""
        self._news: list[Event] = []
        self._shown_at, self._shown_frames = 0.0, self._frames_done

    @property
    def finished(self) -> bool:
        """Whether all units are done, or none is being restored any more after a stop or a failure."""
        busy = any(member.units for member in self._fleet.members.values())
        return self._leases.all_done or ((self._stopping or bool(self._error)) and not busy)

    # --- workers begin --------------------------------------------------------------------------------------

    def begin_on_new_workers(self) -> None:
        for member in self._fleet.loaded:
            if member.name not in self._begun:
                self._begun.add(member.name)
                member.ready, member.units, member.last_done = False, [], None
                self._begin(member)

    def forget_workers_that_left(self) -> None:
        """Take back the units of workers that were lost or refused."""
        for member, reason in self._fleet.left:
            self._feed_others(member)
            running, waiting = member.units[:1], member.units[1:]
            for unit in reversed(waiting):
                self._leases.give_back(unit.number, member.name)
            for unit in running:
                self._fail(unit.number, self._leases.lose(unit.number, member.name, reason))
        self._fleet.left.clear()

    def _begin(self, member: Member) -> None:
        shared = self._fleet.shared_storage
        drafts = Drafts(self._folder.path.absolute(), self._probe)
        self._fleet.call(member, "begin", self._work, self._served, drafts, shared)

    def _has_begun(self, member: Member, begun: Begun) -> None:
        member.shares = begun.shares
        if begun.has_input:
            member.ready = True
        elif member.node_id in self._feeding:
            self._unfed[member.node_id].append(member)
        else:
            self._feeding[member.node_id] = member
            self._feed(member, 0)

    def _feed(self, member: Member, index: int) -> None:
        name, reference = self._input.piece(index)
        self._fleet.call(member, "receive", index, name, reference, index + 1 == len(self._input), about=index)

    def _has_received(self, member: Member, index: int) -> None:
        if index + 1 < len(self._input):
            self._feed(member, index + 1)
            return
        self._begin(member)
        self._feed_others(member)

    def _feed_others(self, member: Member) -> None:
        """Let the other workers of a node look for the input again, once one has received it or was lost."""
        if self._feeding.get(member.node_id) is member:
            del self._feeding[member.node_id]
            for other in self._unfed.pop(member.node_id, []):
                if other.name in self._fleet.members:
                    self._begin(other)

    # --- units ----------------------------------------------------------------------------------------------

    def hand_out(self) -> None:
        """Give units to workers that have none, then to those that have one."""
        if self._stop is not None and not self._stopping and self._stop(None):
            self._stop_now()
        if self._stopping or self._error:
            return
        ready = [member for member in self._fleet.members.values() if member.ready]
        names = {member.name for member in ready}
        for held in range(AHEAD if self._leases.any_free else 0):
            for member in ready:
                if len(member.units) == held and not self._give(member, names):
                    return
        self._rebalance(ready)

    def _give(self, member: Member, names: set[str]) -> bool:
        """Give the next unit to a worker, if there is one. Returns False if the job is to stop before it."""
        unit = self._leases.take(member.name, names, after=_last(member))
        if unit is None:
            return True
        if self._stop is not None and self._stop(_expected_s(member, unit)):
            self._leases.give_back(unit.number, member.name)
            self._stop_now()
            return False
        self._fleet.call(member, "restore", unit.number, self._handover(member, unit), about=unit.number)
        if not member.units:
            member.frames = 0
        member.units.append(unit)
        return True

    def _handover(self, member: Member, unit: Unit) -> Any:
        """Return a reference to what the previous unit handed over, None if the worker has or sees it."""
        if not unit.needs_previous or _last(member) == unit.number - 1:
            return None
        file = self._folder.handover_path(unit.number - 1)
        if member.shares and file.is_file():
            return None
        try:
            return self._fleet.put(file.read_bytes())
        except OSError:
            self._folder.read_handover(unit.number - 1)  # raises the error that says what to do
            raise

    def _rebalance(self, ready: list[Member]) -> None:
        """Ask for as many units back that wait behind others as there are workers without any. Once for each unit."""
        idle = [member.name for member in ready if not member.units]
        for member in ready if idle else ():
            for unit in member.units[1:]:
                if idle and unit.number not in self._asked_back and self._leases.suits(unit.number, idle):
                    idle.pop()
                    self._asked_back.add(unit.number)
                    self._fleet.call(member, "drop", unit.number, about=unit.number)

    def _stop_now(self) -> None:
        """Let every worker end its unit and begin no other."""
        self._stopping = True
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        for member in self._fleet.members.values():
            for unit in member.units[1:]:
                self._fleet.call(member, "drop", unit.number, about=unit.number)

    def ask_for_progress(self) -> None:
        """Ask the workers that are restoring a unit how far they are, if it is time."""
        now = time.monotonic()
        seconds = STATUS_S * max(1.0, len(self._fleet.members) / 100)
        for member in self._fleet.members.values():
            if member.units and now - member.asked_at >= seconds:
                member.asked_at = now
                self._fleet.call(member, "progress")

    # --- answers --------------------------------------------------------------------------------------------

    def take(self, call: Call, answer: Any) -> None:
        """Act on the answer of a worker."""
        member, about = call.member, call.about
        if call.job != self._fleet.job:
            if isinstance(answer, Draft):
                discard(answer)
        elif call.method == "restore":
            self._take_unit(member, about, answer)
        elif isinstance(answer, Failure):
            self._fleet.refuse(member, answer.reason)
        elif call.method == "begin":
            self._has_begun(member, answer)
        elif call.method == "receive":
            self._has_received(member, about)
        elif call.method == "progress":
            number, frames, seconds = answer
            if member.units and member.units[0].number == number:
                member.frames = frames
                member.frames_per_s = frames / seconds if frames and seconds else member.frames_per_s
        elif call.method == "drop" and answer:
            self._remove(member, about)
            self._leases.give_back(about, member.name)

    def _take_unit(self, member: Member, number: int, answer: Draft | Dropped | Failure) -> None:
        held = self._remove(member, number)
        match answer:
            case Draft():
                self._publish(member, answer)
            case Failure(reason) if held and not self._leases.lacks_previous(number):
                member.last_done = None
                self._fail(number, self._leases.fail(number, member.name, reason))
                self._news.append(Notice(f"unit {number} failed on {member.name}: {reason}"))
            case _:  # the unit before it failed here, or it was dropped
                member.last_done = None
                self._leases.give_back(number, member.name)

    def _publish(self, member: Member, draft: Draft) -> None:
        """Make a unit final. One that is done already, by a worker that was thought to be lost, is only compared."""
        member.last_done = draft.number
        self._news += [Notice(f"{member.name}: {text}") for text in draft.notices]
        unit = self._units[draft.number]
        seconds = draft.record.effort["seconds"]
        member.frames_per_s = len(unit.frames) / seconds if seconds else member.frames_per_s
        if self._leases.is_done(draft.number):
            if not same_bytes(draft, self._folder):
                self._news.append(
                    Notice(f"unit {draft.number} has other bytes from {member.name}: the first result is kept")
                )
            discard(draft)
            return
        draft.record.effort.update(worker=member.name, device=member.loaded.device if member.loaded else "")
        try:
            publish(draft, self._folder, self._token)
        except JobError as error:
            member.last_done = None
            self._fail(draft.number, self._leases.fail(draft.number, member.name, str(error)))
            return
        self._leases.finish(draft.number)
        self._frames_done += len(unit.frames)

    def _fail(self, number: int, reasons: str | None) -> None:
        """Stop the job if a unit has failed too often. Units that are being restored may end."""
        if reasons is None or self._error:
            return
        frames = self._units[number].frames
        self._error = (
            f"unit {number} (frames {frames.start} to {frames.stop - 1}) failed again and again: {reasons}; finished "
            "units are kept, run the same command again to go on"
        )
        self._drop_waiting()

    def _remove(self, member: Member, number: int) -> bool:
        """Take a unit off a worker's list. Returns whether it was on it."""
        held = [unit for unit in member.units if unit.number != number]
        removed = len(held) < len(member.units)
        if removed and (not held or member.units[0].number == number):
            member.frames = 0
        member.units = held
        return removed

    # --- what is told ---------------------------------------------------------------------------------------

    def news(self) -> Iterator[Event]:
        """Yield what has happened since the last call, and the state of all workers every second."""
        events = [*self._fleet.events, *self._news]
        self._fleet.events.clear()
        self._news.clear()
        yield from events
        members = self._fleet.members.values()
        frames = self._frames_done + sum(member.frames for member in members)
        if frames > self._shown_frames:  # a unit that begins again takes no frames off the display
            self._shown_frames = frames
            yield Progress(frames)
        if time.monotonic() - self._shown_at >= STATUS_S:
            self._shown_at = time.monotonic()
            speed = sum(member.frames_per_s or 0.0 for member in members if member.units)
            left_s = (self._frames - frames) / speed if speed else None
            yield Workers(tuple(_state(member) for member in members if member.loaded), speed, left_s)

    # --- the end --------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Release what the workers hold of the job."""
        self._drop_waiting()
        for member in self._fleet.members.values():
            if member.name in self._begun:
                member.units, member.ready = [], False
                self._fleet.call(member, "end", self._leases.all_done)
        with suppress(OSError):
            Path(self._folder.path / PROBE).unlink()

    def raise_error(self) -> None:
        """Raise JobError if a unit has failed too often."""
        if self._error:
            raise JobError(self._error)


def _last(member: Member) -> int | None:
    """Return the unit after which a worker restores the next one."""
    return member.units[-1].number if member.units else member.last_done


def _expected_s(member: Member, unit: Unit) -> float | None:
    """Return the seconds until a worker would have restored a unit, after those that it has; None if unknown."""
    frames = sum(len(held.frames) for held in (*member.units, unit)) - member.frames
    return frames / member.frames_per_s if member.frames_per_s else None


def _state(member: Member) -> WorkerState:
    device = member.loaded.device if member.loaded else ""
    unit = member.units[0].number if member.units else None
    return WorkerState(member.name, member.node, device, unit, member.frames, member.frames_per_s)
