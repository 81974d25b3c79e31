"""Units between a worker that restored them and the job's folder, in which they become final."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from patchvsr.distributed.pieces import Pieces
from patchvsr.errors import JobError
from patchvsr.jobs.folder import JobFolder, UnitRecord

PROBE = "probe.tmp"


@dataclass(frozen=True)
class Draft:
    """A restored unit whose files lie in the job's folder, or in one of the worker that sends them in pieces.

    handover: what the next unit of the shot needs, None at the end of a shot. sha256: of the segment.
    notices: lines for the user, about step-downs. pieces: in which the worker sends the files, 0 on shared storage.
    """

    number: int
    record: UnitRecord
    segment: Path
    handover: Path | None
    sha256: str
    notices: tuple[str, ...] = ()
    pieces: int = 0

    @property
    def files(self) -> list[Path]:
        return [self.segment] if self.handover is None else [self.segment, self.handover]

    def received(self, folder: Path) -> Draft:
        """Return the draft whose files have been sent to a folder."""
        handover = None if self.handover is None else folder / self.handover.name
        return replace(self, segment=folder / self.segment.name, handover=handover, pieces=0)


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
        notices: tuple[str, ...] = (),
        sends: bool,
    ) -> Draft:
        """Return what the driver needs to know of the written files. sends: whether they are to be sent in pieces."""
        draft = Draft(number, record, segment, handover, _digest(segment), notices)
        return replace(draft, pieces=len(Pieces(draft.files))) if sends else draft


def publish(draft: Draft, folder: JobFolder) -> None:
    """Make a draft the finished unit of a job: all files under their names, the record last.

    Raises JobError if the segment is not what the worker wrote.
    """
    try:
        arrived = _digest(draft.segment) == draft.sha256
    except OSError:
        arrived = False
    if not arrived:
        discard(draft)
        raise JobError(
            f"{draft.segment}: is not what the worker wrote; check the shared storage, or use --no-shared-storage"
        )
    folder.adopt_unit(draft.number, draft.record, draft.segment, draft.handover)


def discard(draft: Draft) -> None:
    """Remove the files of a draft that is not needed, if they are here."""
    for file in draft.files:
        file.unlink(missing_ok=True)


def same_bytes(draft: Draft, folder: JobFolder) -> bool:
    """Return whether a finished unit has the bytes of a draft."""
    return _digest(folder.segment_path(draft.number)) == draft.sha256


def _path(folder: Path, number: int, kind: str, token: str) -> Path:
    return folder / f"unit-{number:05d}.{kind}.{token}.tmp"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
