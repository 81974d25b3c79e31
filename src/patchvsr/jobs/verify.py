"""Compares a finished output with what its job recorded when it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchvsr.errors import InputError, JobError
from patchvsr.jobs.folder import JobFolder
from patchvsr.media.contents import Contents, read_contents
from patchvsr.media.images.names import means_sequence


@dataclass(frozen=True)
class Verified:
    """difference: in words, None when the output is the one that was written, frame by frame."""

    frames: int
    streams: int
    difference: str | None


def verify(output: str | Path, job: str | Path | None = None) -> Verified:
    """Reads the whole output: number of frames, the time of each, CRC-32 of each, and those of other streams.

    An output that is not there, or cannot be read, differs.

    job: the job's folder, if it is not beside the output. Raises JobError when there is no record of a finished job.
    """
    output = Path(output)
    folder = JobFolder(output, path=None if job is None else Path(job))
    manifest, recorded = folder.read_manifest(), folder.read_result()
    if manifest is None:
        raise JobError(f"{folder.path}: no manifest there, so there is nothing to verify {output} against")
    if recorded is None:
        raise JobError(f"{folder.path}: that job is not finished; run its command again")
    if len(recorded.crcs) != len(manifest.scan.crcs):
        raise JobError(f"{folder.path}: manifest and result do not belong together; they were changed")
    return Verified(len(recorded.crcs), len(recorded.streams), _difference(recorded, output))


def _difference(recorded: Contents, output: Path) -> str | None:
    if not means_sequence(output) and not output.exists():
        return "it is not there"
    try:
        return recorded.difference(read_contents(output))
    except InputError as error:
        return str(error).removeprefix(f"{output}: ")
