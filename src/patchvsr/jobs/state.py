"""Tell what an earlier run left: work to resume, a finished output, or nothing of use."""

from __future__ import annotations

from enum import Enum, auto
from pathlib import Path
from typing import Any

from patchvsr.errors import InputError, JobError
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.identity import differences
from patchvsr.jobs.manifest import Manifest
from patchvsr.media.contents import Contents, read_contents, size_bytes
from patchvsr.media.images.names import means_sequence


class State(Enum):
    BEGUN = auto()  # units or the output are missing
    PUBLISHING = auto()  # some images of a sequence already have their final names
    DONE = auto()  # the output exists
    OBSOLETE = auto()  # finished, but the output is gone or belongs to a different job


def judge(folder: JobFolder, manifest: Manifest, identity: dict[str, Any], output: Path) -> State:
    """Return the state of a job folder with respect to the job `identity` and its output.

    Raises JobError with the differences if the folder holds unfinished work of another job, which is never discarded.
    """
    changes = differences(manifest.identity, identity)
    result = folder.read_result()
    if result is not None and not folder.has_units():
        # The size is enough here; `patchvsr verify` reads the whole file.
        return State.DONE if not changes and size_bytes(output) == result.size_bytes else State.OBSOLETE
    found = None if result is None else _contents(output)
    if result is not None and found is not None and result.difference(found) is None:
        folder.drop_units()  # the earlier run was stopped before it could
        return State.OBSOLETE if changes else State.DONE
    if changes:
        raise JobError(
            f"{folder.path}: holds unfinished work of another job: {'; '.join(changes)}; "
            "resume with the old settings, choose another output, or remove that folder to start over"
        )
    if result is None:
        return State.BEGUN
    # A video gets its name in one step, so a file that is not the whole result is not ours.
    ours = found is not None and means_sequence(output) and set(found.crcs) <= set(result.crcs)
    return State.PUBLISHING if ours else State.BEGUN


def _contents(output: Path) -> Contents | None:
    try:
        return read_contents(output)
    except InputError:
        return None
