"""The manifest of a job: written once when the work begins, never changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patchvsr.errors import JobError
from patchvsr.jobs.plan import Unit, cut_chunks, cut_units
from patchvsr.jobs.scan import Scan

FORMAT = 3  # 1: version 0.1


@dataclass(frozen=True)
class Manifest:
    """Description of a job.

    identity: see `identity.job_identity`. scan: of the input.
    chunk_frames, overlap_frames, unit_frames, warm_up_frames: how the work is cut, see `plan`.
    input: absolute path of the input when the job began, empty if unknown.
    """

    identity: dict[str, Any]
    scan: Scan
    chunk_frames: int
    overlap_frames: int
    unit_frames: int
    input: str = ""
    warm_up_frames: int | None = None

    def units(self) -> list[Unit]:
        chunks = cut_chunks(self.scan.shots(), self.chunk_frames, self.overlap_frames)
        return cut_units(chunks, self.unit_frames, self.warm_up_frames)

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, stored: dict[str, Any], folder: Path) -> Manifest:
        """Parse a stored manifest. Raises JobError if another version wrote it."""
        try:
            if stored.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**{**stored, "scan": Scan(**stored["scan"])})
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(
                f"{folder}: was written by another version of patchvsr ({error}); finish it with that version, "
                "or remove it to start over"
            ) from error
