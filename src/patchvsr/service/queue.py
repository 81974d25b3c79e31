"""The queue: all jobs, in which state they are, and which one is next."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from patchvsr.service.events import EventLog
from patchvsr.service.refusals import Refused


class State(StrEnum):
    SUBMITTED = "submitted"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (State.SUBMITTED, State.RUNNING, State.PAUSED)
STOPPED = (State.PAUSED, State.FAILED, State.CANCELLED)
_ORDER = "priority DESC, position"


@dataclass(frozen=True)
class Job:
    """One row of the table `jobs`, see `database`."""

    id: str
    name: str
    input: str
    output: str
    upload: str | None
    settings: dict[str, Any]
    look: dict[str, Any]
    state: State
    wanted: State | None
    priority: int
    position: float
    device: str | None
    reason: str | None
    phase: str | None
    frames: int | None
    frames_done: int
    planned_at: float | None
    planned_done: int | None
    submitted_at: float
    started_at: float | None
    finished_at: float | None


class Queue:
    """Every change of a job goes through here, and is logged."""

    def __init__(self, database: sqlite3.Connection, log: EventLog) -> None:
        self._database, self._log = database, log

    def add(self, *, id: str, priority: int, **values: Any) -> Job:
        """Add a job behind all others of its priority."""
        last = self._database.execute("SELECT max(position) FROM jobs").fetchone()[0] or 0
        row = {"id": id, "state": State.SUBMITTED, "priority": priority, "position": last + 1} | values
        row["submitted_at"] = time.time()
        columns = ", ".join(row)
        self._database.execute(
            f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * len(row))})", [_stored(v) for v in row.values()]
        )
        self._log.add(id, "state", {"state": State.SUBMITTED})
        return self.get(id)

    def get(self, id: str) -> Job:
        """Return a job. Raises Refused if there is none."""
        row = self._database.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise Refused(404, f"no job {id}: it was deleted or never existed")
        return _job(row)

    def all(self) -> list[Job]:
        """Return all jobs in the order of the queue."""
        return [_job(row) for row in self._database.execute(f"SELECT * FROM jobs ORDER BY {_ORDER}")]

    def count(self, states: Collection[State]) -> int:
        return sum(job.state in states for job in self.all())

    def take(self, device: str | None) -> Job | None:
        """Return the next job for a device, which is running from now on; None if there is none.

        A job that has begun goes on where it began. Other devices may be of another kind and give other bytes.
        """
        row = self._database.execute(
            f"SELECT * FROM jobs WHERE state = ? AND (started_at IS NULL OR device IS ?) ORDER BY {_ORDER} LIMIT 1",
            (State.SUBMITTED, device),
        ).fetchone()
        if row is None:
            return None
        self.change(row["id"], started_at=row["started_at"] or time.time(), device=device, phase="starting")
        return self.enter(row["id"], State.RUNNING)

    def enter(self, id: str, state: State, *, reason: str | None = None) -> Job:
        """Put a job into a state and log it."""
        ended = time.time() if state in (State.DONE, State.FAILED, State.CANCELLED) else None
        self.change(id, state=state, wanted=None, reason=reason, finished_at=ended)
        self._log.add(id, "state", {"state": state, "reason": reason})
        return self.get(id)

    def want(self, id: str, state: State) -> Job:
        """Note for what a running job is being stopped; a restarted service still knows."""
        self.change(id, wanted=state)
        self._log.add(id, "stopping", {"wanted": state})
        return self.get(id)

    def move(self, id: str, *, priority: int | None = None, before: str | None = None) -> Job:
        """Change the priority of a job, or put it before another one, whose priority it then has."""
        if before is not None:
            other = self.get(before)
            earlier = [job.position for job in self.all() if job.position < other.position and job.id != id]
            self.change(
                id, priority=other.priority, position=(max(earlier, default=other.position - 2) + other.position) / 2
            )
        if priority is not None:
            self.change(id, priority=priority)
        self._log.add(id, "moved")
        return self.get(id)

    def change(self, id: str, **values: Any) -> None:
        """Change columns of a job, without an event."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._database.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", [*map(_stored, values.values()), id])

    def remove(self, id: str) -> None:
        self._database.execute("DELETE FROM jobs WHERE id = ?", (id,))
        self._log.forget(id)
        self._log.add(id, "deleted")

    def take_up(self, devices: Sequence[str | None]) -> None:
        """Take up what an earlier service left: what was running waits in its old place, unless it was to stop."""
        for job in self.all():
            if job.device not in devices:  # no longer offered; if the new one is of another kind, the job will say so
                self.change(job.id, device=devices[0])
            if job.state is State.RUNNING:
                self.enter(job.id, job.wanted or State.SUBMITTED)


def _stored(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _job(row: sqlite3.Row) -> Job:
    values = {field.name: row[field.name] for field in fields(Job)}
    values |= {"settings": json.loads(row["settings"]), "look": json.loads(row["look"])}
    values |= {"state": State(row["state"]), "wanted": State(row["wanted"]) if row["wanted"] else None}
    return Job(**values)
