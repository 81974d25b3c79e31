"""Compare a finished output with the record of its job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchvsr.errors import InputError, JobError
from patchvsr.jobs.folder import JobFolder
from patchvsr.media.contents import Contents, read_contents
from patchvsr.media.images.names import means_sequence


@dataclass(frozen=True)
class Verified:
    """Result of a comparison. difference: a description, None if every frame and stream is as it should be."""

    frames: int
    streams: int
    difference: str | None


def verify(
    output: str | Path,
    job: str | Path | None = None,
    *,
    deep: bool = False,
    input_path: str | Path | None = None,
) -> Verified:
    """Read the whole output and compare frame count, timestamps and CRC-32 of all frames and streams.

    A missing or unreadable output counts as different.
    job: the job's folder, if it is not beside the output.
    deep: also decode input and output and compare every frame with the one that it was made from.
    input_path: for `deep`, the input, if it is no longer where the job read it.

    Raises JobError if there is no record of a finished job, and for `deep` if the input is not that of the job.
    """
    output = Path(output)
    folder = JobFolder(output, path=None if job is None else Path(job))
    manifest, recorded = folder.read_manifest(), folder.read_result()
    if manifest is None:
        raise JobError(f"{folder.path}: no manifest found, so there is nothing to verify {output} against")
    if recorded is None:
        raise JobError(f"{folder.path}: that job is not finished; run its command again")
    if len(recorded.crcs) != len(manifest.scan.crcs):
        raise JobError(f"{folder.path}: manifest and result do not match; one of them was changed")
    difference = _difference(recorded, output)
    if deep and difference is None:
        from patchvsr.jobs.deep import picture_fault  # slow to import

        difference = picture_fault(manifest, output, None if input_path is None else Path(input_path))
    return Verified(len(recorded.crcs), len(recorded.streams), difference)


def _difference(recorded: Contents, output: Path) -> str | None:
    if not means_sequence(output) and not output.exists():
        return "it does not exist"
    try:
        return recorded.difference(read_contents(output))
    except InputError as error:
        return str(error).removeprefix(f"{output}: ")
