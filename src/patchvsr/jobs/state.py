"""What an earlier run has left: work to go on with, a finished output, or nothing of use."""

from __future__ import annotations

from enum import Enum, auto
from pathlib import Path
from typing import Any

from patchvsr.errors import InputError, JobError
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.identity import differences
from patchvsr.jobs.manifest import Manifest
from patchvsr.media.contents import Contents, read_contents, size_bytes


class State(Enum):
    BEGUN = auto()  # units are missing, or the output is
    PUBLISHING = auto()  # stopped between writing the output and giving it its name: what has that name may be ours
    DONE = auto()  # the output is there
    OBSOLETE = auto()  # finished, but the output is gone, or was made in another way


def judge(folder: JobFolder, manifest: Manifest, identity: dict[str, Any], output: Path) -> State:
    """Compares a folder with the job at hand.

    Raises JobError, with what differs, for unfinished work of another job: it is never thrown away.
    """
    changes = differences(manifest.identity, identity)
    result = folder.read_result()
    if result is not None and not folder.has_units():
        # Whether it is the same file to the byte is what `patchvsr verify` reads it for.
        return State.DONE if not changes and size_bytes(output) == result.size_bytes else State.OBSOLETE
    if changes:
        raise JobError(
            f"{folder.path}: holds unfinished work of another kind: {'; '.join(changes)}; "
            "go on with the old settings, choose another output, or remove that folder to start anew"
        )
    if result is None:
        return State.BEGUN
    if _is_complete(output, result):
        folder.drop_units()
        return State.DONE
    return State.PUBLISHING


def _is_complete(output: Path, result: Contents) -> bool:
    try:
        return result.difference(read_contents(output)) is None
    except InputError:
        return False
