"""Uploads in pieces: a client asks how much has arrived and sends the rest, also after a restart of either side."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from patchvsr.files import make_folder
from patchvsr.service.options import GIB, ServiceOptions
from patchvsr.service.refusals import Refused

MOST_AT_ONCE = 20
KEPT_S = 7 * 24 * 3600  # an upload without a job, finished or not
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Upload:
    """A file that is arriving or has arrived. offset: bytes that are here. path: where, under a name of the service.

    modified: when the client's file was changed last, in its own units, or None. The service only returns it.
    """

    id: str
    name: str
    size: int
    modified: int | None
    offset: int
    path: Path

    @property
    def complete(self) -> bool:
        return self.offset == self.size


class Uploads:
    def __init__(self, database: sqlite3.Connection, options: ServiceOptions) -> None:
        self._database, self._options = database, options
        self._folder = options.data / "uploads"
        self._receiving: set[str] = set()
        self._remove_old()

    def begin(self, name: str, size: int, modified: int | None = None) -> Upload:
        """Register an upload. Raises Refused for a bad name, and if it is too large for the limit or the disk."""
        limit = self._options.max_upload_bytes
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or {"/", "\\"} & set(name):
            raise Refused(422, f"the name must be that of a file, of 1 to {_LONGEST_NAME} characters, without slashes")
        if size < 1:
            raise Refused(422, "the file is empty: give a video")
        if size > limit:
            raise Refused(413, f"the file has {size / GIB:.2f} GiB: at most {limit / GIB:.2f} GiB are accepted")
        arriving = [upload for upload in self.all() if not upload.complete]
        if len(arriving) >= MOST_AT_ONCE:
            raise Refused(429, f"{len(arriving)} uploads are unfinished: finish or delete one first")
        self._options.check_space(size + sum(upload.size - upload.offset for upload in arriving))
        id = secrets.token_hex(16)
        make_folder(self._folder / id)
        self._path(id).touch()
        self._database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", (id, name, size, modified, time.time()))
        return self.get(id)

    def get(self, id: str) -> Upload:
        """Return an upload. Raises Refused if there is none."""
        row = self._database.execute("SELECT * FROM uploads WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise Refused(404, f"no upload {id}: it was deleted or never existed")
        return self._upload(row)

    async def receive(self, id: str, offset: int, pieces: AsyncIterator[bytes]) -> Upload:
        """Append what arrives. A connection that breaks loses nothing that has arrived.

        Raises Refused, and keeps nothing of these pieces, if `offset` is not where the upload is, or if there is more
        than was announced.
        """
        upload = self.get(id)
        if offset != upload.offset:
            raise Refused(409, f"{upload.offset} bytes have arrived: go on from there, not from {offset}")
        if id in self._receiving:
            raise Refused(409, "another connection is sending this upload: wait for it or close it")
        self._receiving.add(id)
        try:
            with upload.path.open("ab") as file:
                async for piece in pieces:
                    if file.tell() + len(piece) > upload.size:
                        file.truncate(offset)
                        raise Refused(413, f"more than the {upload.size} bytes that were announced")
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._receiving.discard(id)
        return self.get(id)

    def remove(self, id: str) -> None:
        self._database.execute("DELETE FROM uploads WHERE id = ?", (id,))
        shutil.rmtree(self._folder / id, ignore_errors=True)

    def all(self) -> list[Upload]:
        return [self._upload(row) for row in self._database.execute("SELECT * FROM uploads").fetchall()]

    def _upload(self, row: sqlite3.Row) -> Upload:
        path = self._path(row["id"])
        offset = path.stat().st_size if path.exists() else 0
        return Upload(row["id"], row["name"], row["size"], row["modified"], offset, path)

    def _path(self, id: str) -> Path:
        return self._folder / id / "video"

    def _remove_old(self) -> None:
        """Remove uploads that no job uses after a week, and folders that a killed service has left."""
        rows = self._database.execute(
            "SELECT id FROM uploads WHERE created_at < ? "
            "AND id NOT IN (SELECT upload FROM jobs WHERE upload IS NOT NULL)",
            (time.time() - KEPT_S,),
        ).fetchall()
        for row in rows:
            self.remove(row["id"])
        known = {row["id"] for row in self._database.execute("SELECT id FROM uploads").fetchall()}
        for folder in self._folder.glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
