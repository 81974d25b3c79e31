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
from patchvsr.media.images.names import means_sequence


class State(Enum):
    BEGUN = auto()  # units are missing, or the output is
    PUBLISHING = auto()  # some images of a sequence have their names already
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
    found = None if result is None else _contents(output)
    if result is not None and found is not None and result.difference(found) is None:
        folder.drop_units()  # stopped before it could
        return State.OBSOLETE if changes else State.DONE
    if changes:
        raise JobError(
            f"{folder.path}: holds unfinished work of another kind: {'; '.join(changes)}; "
            "go on with the old settings, choose another output, or remove that folder to start anew"
        )
    if result is None:
        return State.BEGUN
    # A video gets its name in one step: what is there and is not the whole result is not ours.
    ours = found is not None and means_sequence(output) and set(found.crcs) <= set(result.crcs)
    return State.PUBLISHING if ours else State.BEGUN


def _contents(output: Path) -> Contents | None:
    try:
        return read_contents(output)
    except InputError:
        return None
