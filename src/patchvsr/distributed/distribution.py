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
from patchvsr.distributed.fleet import Call, Fleet, Leased, Member
from patchvsr.distributed.inputs import InputServer, ServedInput
from patchvsr.distributed.leases import Leases
from patchvsr.distributed.pieces import Piece, Pieces, add_piece
from patchvsr.distributed.worker import Begun, Dropped, Failure
from patchvsr.errors import JobError, PatchVSRError
from patchvsr.events import Event, Notice, Progress, Workers, WorkerState
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.plan import Unit
from patchvsr.jobs.work import Stop, Work
from patchvsr.media.images.names import is_sequence

STATUS_S = 1.0  # how often workers are asked and shown; longer for hundreds of them
AHEAD = 2  # units of a worker: one that it restores, and one to go on with


class Distribution:
    """What the driver knows of a job while workers restore its units.

    The loop over these methods is that of `Cluster`, for all jobs in flight.
    """

    def __init__(self, fleet: Fleet, work: Work, folder: JobFolder, stop: Stop | None) -> None:
        fleet.jobs += 1
        self.number = fleet.jobs
        self._fleet, self._folder, self._stop = fleet, folder, stop
        self._units = work.manifest.units()
        self._leases = Leases(self._units, [unit.number for unit in self._units if folder.is_done(unit.number)])
        self._frames_done = sum(len(unit.frames) for unit in self._units if self._leases.is_done(unit.number))
        self._frames = len(work.manifest.scan.pts)
        self._probe = uuid.uuid4().hex
        files.write_durably(folder.path / PROBE, self._probe.encode())

        path = work.input.absolute()
        is_folder = is_sequence(path) and path.is_dir()
        self.served = ServedInput(path, work.manifest.identity["input"], is_folder)
        self._input = InputServer(path, fleet.put)
        self._feeding: dict[str, Member] = {}  # by node, as its workers share what it receives
        self._unfed: defaultdict[str, list[Member]] = defaultdict(list)

        self._work = fleet.put(work)
        self._begun: dict[str, Begun | None] = {}  # by worker; None while it begins
        self._sent: dict[str, tuple[Unit, Pieces]] = {}  # what the unit before handed over, on its way to a worker
        self._arriving: defaultdict[str, list[Draft]] = defaultdict(list)  # from a worker, one after the other
        self._asked_back: set[int] = set()
        self._stopping = False
        self._error: Exception | None = None
        self._news: list[Event] = []
        self._shown_at, self._shown_frames = 0.0, self._frames_done

    @property
    def finished(self) -> bool:
        """Whether all units are done, or none is being restored any more after a stop or a failure."""
        return self._leases.all_done or ((self._stopping or self._error is not None) and not any(self._leased()))

    def _leased(self) -> Iterator[tuple[Member, int, Unit]]:
        """Yield the units of this job that workers have, and their places in the lists of these workers."""
        for member in self._fleet.members.values():
            for place, leased in enumerate(member.units):
                if leased.job == self.number:
                    yield member, place, leased.unit

    # --- workers begin --------------------------------------------------------------------------------------

    def forget(self, member: Member, reason: str) -> None:
        """Take back the units of a worker that was lost or refused."""
        self._feed_others(member)
        self._sent.pop(member.name, None)
        self._remove_received(member.name)
        of_job = [(place, leased.unit.number) for place, leased in enumerate(member.units) if leased.job == self.number]
        for place, number in reversed(of_job):
            if place:
                self._leases.give_back(number, member.name)
            else:
                self._fail(number, self._leases.lose(number, member.name, reason))

    def _begin(self, member: Member) -> None:
        self._begun[member.name], member.begins = None, self.number
        drafts = Drafts(self._folder.path.absolute(), self._probe)
        self._call(member, "begin", self._work, self.served, drafts, self._fleet.shared_storage)

    def _has_begun(self, member: Member, begun: Begun) -> None:
        if begun.has_input:
            self._begun[member.name], member.begins = begun, None
            for leased in member.units:
                if leased.job == self.number:
                    self._send(member, leased.unit, goes_on=False)
        elif member.node_id in self._feeding:
            self._unfed[member.node_id].append(member)
        else:
            self._feeding[member.node_id] = member
            self._feed(member, 0)

    def _feed(self, member: Member, index: int) -> None:
        self._call(member, "receive", index, self._input.piece(index), index + 1 == len(self._input), about=index)

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

    def heed_stop(self) -> None:
        """Stop if the user or the deadline says so."""
        if self._stop is not None and not self._stopping and self._stop(None):
            self._stop_now()

    def hand_out(self, members: list[Member], names: set[str], held: int) -> None:
        """Give a unit to each worker that has `held` units, as long as there are any. names: of all workers."""
        if self._stopping or self._error is not None or not self._leases.any_free:
            return
        for member in members:
            if len(member.units) == held and member.begins is None and not self._give(member, names):
                return

    def _give(self, member: Member, names: set[str]) -> bool:
        """Give the next unit to a worker, if there is one. Returns False if the job is to stop before it."""
        last = self._last(member)
        unit = self._leases.take(member.name, names, after=last)
        if unit is None:
            return True
        if self._stop is not None and self._stop(self._expected_s(member, unit)):
            self._leases.give_back(unit.number, member.name)
            self._stop_now()
            return False
        member.units.append(Leased(self.number, unit))
        if self._begun.get(member.name) is None:
            self._begin(member)  # the unit is sent once it has
        else:
            self._send(member, unit, goes_on=last == unit.number - 1)
        return True

    def _last(self, member: Member) -> int | None:
        """Return the unit after which a worker restores the next one, None if that is of another job."""
        last = (member.units[-1].job, member.units[-1].unit.number) if member.units else member.last_done
        return last[1] if last is not None and last[0] == self.number else None

    def _send(self, member: Member, unit: Unit, *, goes_on: bool) -> None:
        """Let a worker restore a unit. goes_on: whether the unit before it is the one that it restores before."""
        begun = self._begun[member.name]
        if unit.needs_previous and not goes_on:
            handover = self._folder.handover_path(unit.number - 1)
            if not handover.is_file():
                self._folder.read_handover(unit.number - 1)  # raises the error that says what to do
            if begun is not None and not begun.shares:
                member.begins, self._sent[member.name] = self.number, (unit, Pieces([handover]))
                self._hand_on(member, 0)
                return
        self._call(member, "restore", unit.number, about=unit.number)

    def _hand_on(self, member: Member, index: int) -> None:
        _, pieces = self._sent[member.name]
        self._call(member, "accept", pieces.read(index), about=index)

    def _has_accepted(self, member: Member, index: int) -> None:
        unit, pieces = self._sent[member.name]
        taken_back = Leased(self.number, unit) not in member.units
        if index + 1 < len(pieces) and not taken_back:
            self._hand_on(member, index + 1)
            return
        member.begins = None
        del self._sent[member.name]
        if not taken_back:
            self._call(member, "restore", unit.number, about=unit.number)

    def _expected_s(self, member: Member, unit: Unit) -> float | None:
        """Return the seconds until a worker would have restored a unit, after those that it has; None if unknown."""
        units, speeds = [*member.units, Leased(self.number, unit)], member.frames_per_s
        if not all(leased.job in speeds for leased in units):
            return None
        seconds = sum(len(leased.unit.frames) / speeds[leased.job] for leased in units)
        return seconds - member.frames / speeds[units[0].job]

    def rebalance(self, idle: list[str]) -> None:
        """Ask for units back that wait behind others, one for each idle worker, which is taken off the list.

        Once for each unit.
        """
        for member, place, unit in self._leased() if idle else ():
            if idle and place and unit.number not in self._asked_back and self._leases.suits(unit.number, idle):
                idle.pop()
                self._asked_back.add(unit.number)
                self._call(member, "drop", unit.number, about=unit.number)

    def _stop_now(self) -> None:
        """Let every worker end its unit and begin no other."""
        self._stopping = True
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        for member, place, unit in list(self._leased()):
            if member.begins == self.number and unit == member.units[-1].unit:  # which it cannot restore yet
                self._take_back(member, unit.number)
            elif place:
                self._call(member, "drop", unit.number, about=unit.number)

    def _call(self, member: Member, method: str, *arguments: Any, about: int = -1) -> None:
        self._fleet.call(member, method, *arguments, job=self.number, about=about)

    # --- answers --------------------------------------------------------------------------------------------

    def take(self, call: Call, answer: Any) -> None:
        """Act on the answer of a worker."""
        member, about = call.member, call.about
        if call.method == "restore" and isinstance(answer, Draft) and answer.pieces:
            self._expect(member, answer)
        elif call.method == "restore":
            self._take_unit(member, about, answer)
        elif call.method == "send":
            self._take_piece(member, about, answer)
        elif isinstance(answer, Failure):
            self._fleet.refuse(member, answer.reason)
        elif call.method == "begin":
            self._has_begun(member, answer)
        elif call.method == "receive":
            self._has_received(member, about)
        elif call.method == "accept":
            self._has_accepted(member, about)
        elif call.method == "drop" and answer:
            self._take_back(member, about)

    def take_progress(self, member: Member, number: int, frames: int, seconds: float) -> None:
        """Note how far a worker is with a unit of this job."""
        if member.units and (member.units[0].job, member.units[0].unit.number) == (self.number, number):
            member.frames = frames
            if frames and seconds:
                member.frames_per_s[self.number] = frames / seconds

    def _expect(self, member: Member, draft: Draft) -> None:
        """Let a worker send the files of a unit, behind those of the one before. Until then it holds the unit."""
        if self._leases.is_done(draft.number):
            self._take_unit(member, draft.number, draft)
            return
        self._arriving[member.name].append(draft)
        if len(self._arriving[member.name]) == 1:
            self._call(member, "send", draft.number, 0, about=0)

    def _take_piece(self, member: Member, index: int, answer: Piece | Failure) -> None:
        arriving = self._arriving[member.name]
        draft = arriving[0]
        received = draft.received(self._folder.path)
        if isinstance(answer, Failure):
            discard(received)
        else:
            with files.reported(self._folder.path, lambda: discard(received)):
                add_piece(answer, self._folder.path)
            if index + 1 < draft.pieces:
                self._call(member, "send", draft.number, index + 1, about=index + 1)
                return
        del arriving[0]
        self._take_unit(member, draft.number, answer if isinstance(answer, Failure) else received)
        if arriving:
            self._call(member, "send", arriving[0].number, 0, about=0)

    def _remove_received(self, name: str) -> None:
        """Remove what has arrived of units that a worker will send no more of."""
        for draft in self._arriving.pop(name, []):
            discard(draft.received(self._folder.path))

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
        member.last_done = self.number, draft.number
        self._news += [Notice(f"{member.name}: {text}") for text in draft.notices]
        unit = self._units[draft.number]
        seconds = draft.record.effort["seconds"]
        if seconds:
            member.frames_per_s[self.number] = len(unit.frames) / seconds
        if self._leases.is_done(draft.number):
            if not same_bytes(draft, self._folder):
                self._news.append(
                    Notice(f"unit {draft.number} has other bytes from {member.name}: the first result is kept")
                )
            discard(draft)
            return
        draft.record.effort.update(worker=member.name, device=member.loaded.device if member.loaded else "")
        try:
            publish(draft, self._folder)
        except JobError as error:
            member.last_done = None
            self._fail(draft.number, self._leases.fail(draft.number, member.name, str(error)))
            return
        self._leases.finish(draft.number)
        self._frames_done += len(unit.frames)

    def _fail(self, number: int, reasons: str | None) -> None:
        """Stop the job if a unit has failed too often. Units that are being restored may end."""
        if reasons is None or self._error is not None:
            return
        frames = self._units[number].frames
        self._error = JobError(
            f"unit {number} (frames {frames.start} to {frames.stop - 1}) failed again and again: {reasons}; finished "
            "units are kept, run the same command again to go on"
        )
        self._drop_waiting()

    def fail(self, error: PatchVSRError) -> None:
        """Stop the job at once, for instance if the disk is full. What its workers still restore is not wanted."""
        self._error = self._error or error
        self._let_go()

    def _let_go(self) -> None:
        self._drop_waiting()
        for member, _, unit in list(self._leased()):
            self._take_back(member, unit.number)

    def _take_back(self, member: Member, number: int) -> None:
        self._remove(member, number)
        self._leases.give_back(number, member.name)

    def _remove(self, member: Member, number: int) -> bool:
        """Take a unit off a worker's list. Returns whether it was on it."""
        held = [leased for leased in member.units if (leased.job, leased.unit.number) != (self.number, number)]
        removed = len(held) < len(member.units)
        if removed and held[:1] != member.units[:1]:
            member.frames = 0
        member.units = held
        return removed

    # --- what is told ---------------------------------------------------------------------------------------

    def news(self, *, oldest: bool) -> Iterator[Event]:
        """Yield what has happened since the last call, and the state of the job's workers every second.

        oldest: whether this is the oldest job in flight, which also shows the workers without any unit.
        """
        events, self._news = self._news, []
        yield from events
        members = [
            member for member in self._fleet.loaded if (member.units[0].job == self.number if member.units else oldest)
        ]
        frames = self._frames_done + sum(member.frames for member in members)
        if frames > self._shown_frames:  # a unit that begins again takes no frames off the display
            self._shown_frames = frames
            yield Progress(frames)
        if time.monotonic() - self._shown_at >= STATUS_S:
            self._shown_at = time.monotonic()
            speed = sum(member.frames_per_s.get(self.number, 0.0) for member in members if member.units)
            left_s = (self._frames - frames) / speed if speed else None
            yield Workers(tuple(map(self._state, members)), speed, left_s)

    def _state(self, member: Member) -> WorkerState:
        device = member.loaded.device if member.loaded else ""
        unit = member.units[0].unit.number if member.units else None
        speed = member.frames_per_s.get(self.number)
        return WorkerState(member.name, member.node, device, unit, member.frames, speed)

    # --- the end --------------------------------------------------------------------------------------------

    def end(self, *, keep_input: bool) -> None:
        """Release what the workers hold of the job. keep_input: on nodes that were sent it, even if all is done."""
        self._let_go()
        for name in list(self._arriving):
            self._remove_received(name)
        for member in self._fleet.members.values():
            if member.name in self._begun:
                member.begins = None if member.begins == self.number else member.begins
                member.frames_per_s.pop(self.number, None)
                self._call(member, "end", self._leases.all_done and not keep_input)
        with suppress(OSError):
            Path(self._folder.path / PROBE).unlink()

    def raise_error(self) -> None:
        """Raise what has stopped the job, if anything has."""
        if self._error is not None:
            raise self._error
