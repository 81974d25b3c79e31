"""The database of the service, one SQLite file, and a bell that rings when it changes."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    input TEXT NOT NULL,
    output TEXT NOT NULL,
    upload TEXT,                  -- of the input; NULL if it is a file of the server
    settings TEXT NOT NULL,       -- what the client asked for, as JSON
    look TEXT NOT NULL,           -- what `look.check` found, as JSON
    state TEXT NOT NULL,
    wanted TEXT,                  -- the state that a running job is stopping for
    priority INTEGER NOT NULL,
    position REAL NOT NULL,       -- order among jobs of one priority
    device TEXT,                  -- where it began; other kinds of devices give other bytes
    reason TEXT,                  -- why it failed
    phase TEXT,
    frames INTEGER,
    frames_done INTEGER NOT NULL DEFAULT 0,
    planned_at REAL,              -- when this run began to restore, and the frames done before: the speed
    planned_done INTEGER,
    submitted_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_a_job ON events (job, number);
CREATE TABLE IF NOT EXISTS seen (
    path TEXT PRIMARY KEY,        -- of a file in a watched folder
    stamp TEXT NOT NULL           -- its size and time when it was submitted or refused
);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified INTEGER,             -- when the file was changed last, as the client says; tells files of one name apart
    created_at REAL NOT NULL
);
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, creating it if needed. A statement is durable when it returns: a power cut loses nothing."""
    # Used by one thread at a time: the event loop's, which tests run in a thread of their own.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(_TABLES)
    return database


class Seen:
    """Which files of watched folders were submitted or refused, and how they were then."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def get(self, path: Path) -> str | None:
        row = self._database.execute("SELECT stamp FROM seen WHERE path = ?", (str(path),)).fetchone()
        return None if row is None else row["stamp"]

    def add(self, path: Path, stamp: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (str(path), stamp))


class Bell:
    """Wakes everyone who waits. Look first, then wait: nothing rings in between, as there is one thread."""

    def __init__(self) -> None:
        self._ring = asyncio.Event()

    def ring(self) -> None:
        self._ring.set()
        self._ring = asyncio.Event()

    async def wait(self) -> None:
        await self._ring.wait()
