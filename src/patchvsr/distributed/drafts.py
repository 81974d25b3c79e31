"""Units between a worker that restored them and the job's folder, in which they become final."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from patchvsr import files
from patchvsr.errors import JobError
from patchvsr.jobs.folder import JobFolder, UnitRecord

Result = TypeVar("Result")

PROBE = "probe.tmp"


@dataclass(frozen=True)
class Draft:
    """A restored unit: files on shared storage, or their contents.

    handover: what the next unit of the shot needs, None at the end of a shot. sha256: of the segment.
    notices: lines for the user, about step-downs.
    """

    number: int
    record: UnitRecord
    segment: Path | bytes
    handover: Path | bytes | None
    sha256: str
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drafts:
    """The folder where a worker writes units. In a shared job folder, names are unique until `publish` renames them.

    probe: contents of the file `PROBE`, by which a worker recognises the job's own folder.
    """

    folder: Path
    probe: str = ""

    def is_visible(self) -> bool:
        """Return whether this is the same folder as on the machine that made it, and can be written."""
        try:
            return (self.folder / PROBE).read_text() == self.probe and os.access(self.folder, os.W_OK)
        except (OSError, ValueError):
            return False

    def paths(self, number: int, token: str) -> tuple[Path, Path]:
        """Return where a worker writes the segment of a unit and what it hands over."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _path(self.folder, number, "bin", token), _path(self.folder, number, "safetensors", token)

    def finished(
        self,
        number: int,
        record: UnitRecord,
        segment: Path,
        handover: Path | None,
        *,
        notices: tuple[str, ...],
        as_bytes: bool,
    ) -> Draft:
        """Return what the driver needs of the written files. as_bytes: hand over their contents and remove them."""
        digest = _digest(segment.read_bytes())
        if not as_bytes:
            return Draft(number, record, segment, handover, digest, notices)
        contents = segment.read_bytes(), None if handover is None else handover.read_bytes()
        for file in filter(None, (segment, handover)):
            file.unlink()
        return Draft(number, record, *contents, digest, notices)

    def with_file(self, contents: bytes, token: str, read: Callable[[Path], Result]) -> Result:
        """Return what `read` makes of a temporary file with these contents."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.folder / f"received-{token}.tmp"
        file.write_bytes(contents)
        try:
            return read(file)
        finally:
            file.unlink()


def publish(draft: Draft, folder: JobFolder, token: str) -> None:
    """Make a draft the finished unit of a job: all files under their names, the record last.

    Raises JobError if the segment is not what the worker wrote.
    """
    segment, handover = (_as_file(part, draft.number, kind, folder, token) for part, kind in _parts(draft))
    assert segment is not None
    try:
        arrived = _digest(segment.read_bytes()) == draft.sha256
    except OSError:
        arrived = False
    if not arrived:
        for file in filter(None, (segment, handover)):
            file.unlink(missing_ok=True)
        raise JobError(f"{segment}: is not what the worker wrote; check the shared storage, or use --no-shared-storage")
    folder.adopt_unit(draft.number, draft.record, segment, handover)


def discard(draft: Draft) -> None:
    """Remove the files of a draft that is not needed."""
    for part, _ in _parts(draft):
        if isinstance(part, Path):
            part.unlink(missing_ok=True)


def same_bytes(draft: Draft, folder: JobFolder) -> bool:
    """Return whether a finished unit has the bytes of a draft."""
    return _digest(folder.segment_path(draft.number).read_bytes()) == draft.sha256


def _parts(draft: Draft) -> tuple[tuple[Path | bytes | None, str], ...]:
    return (draft.segment, "bin"), (draft.handover, "safetensors")


def _as_file(part: Path | bytes | None, number: int, kind: str, folder: JobFolder, token: str) -> Path | None:
    if not isinstance(part, bytes):
        return part
    file = _path(folder.path, number, kind, token)
    with files.reported(folder.path, lambda: file.unlink(missing_ok=True)):
        file.write_bytes(part)
    return file


def _path(folder: Path, number: int, kind: str, token: str) -> Path:
    return folder / f"unit-{number:05d}.{kind}.{token}.tmp"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
