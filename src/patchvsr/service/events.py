"""The log of what happened to jobs, from which any client can go on reading where it stopped."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patchvsr.service.database import Bell

# Each of these says all that the ones before it said. They replace one another, so the log of a long film stays short.
_LATEST_ONLY = ("progress", "scanning")


@dataclass(frozen=True)
class LoggedEvent:
    """One event. number: increases by any amount from event to event. data: with the keys `job`, `event` and `at`."""

    number: int
    data: dict[str, Any]


class EventLog:
    def __init__(self, database: sqlite3.Connection, bell: Bell) -> None:
        self._database, self._bell = database, bell

    def add(self, job: str, kind: str, fields: Mapping[str, Any] | None = None) -> None:
        """Log an event of a job and tell everyone who follows."""
        data = json.dumps(fields or {})
        with self._database as database:
            database.execute("BEGIN")
            if kind in _LATEST_ONLY:
                database.execute(
                    "DELETE FROM events WHERE kind = ? AND number = (SELECT max(number) FROM events WHERE job = ?)",
                    (kind, job),
                )
            database.execute(
                "INSERT INTO events (job, at, kind, data) VALUES (?, ?, ?, ?)", (job, time.time(), kind, data)
            )
        self._bell.ring()

    def last_number(self) -> int:
        """Return the number of the newest event that there ever was, 0 before the first."""
        row = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return row[0] if row else 0

    def after(self, number: int, job: str | None = None) -> Iterator[LoggedEvent]:
        """Yield the events after `number`, of one job or of all."""
        where, values = ("AND job = ?", (number, job)) if job else ("", (number,))
        rows = self._database.execute(f"SELECT * FROM events WHERE number > ? {where} ORDER BY number", values)
        for row in rows.fetchall():
            head = {"job": row["job"], "event": row["kind"], "at": row["at"]}
            yield LoggedEvent(row["number"], json.loads(row["data"]) | head)

    async def follow(self, number: int, job: str | None = None) -> AsyncIterator[LoggedEvent]:
        """Yield the events after `number`, and then each as it happens, without an end."""
        while True:
            for event in self.after(number, job):
                number = event.number
                yield event
            if next(self.after(number, job), None) is None:
                await self._bell.wait()

    def forget(self, job: str) -> None:
        """Remove the events of a deleted job."""
        self._database.execute("DELETE FROM events WHERE job = ?", (job,))
