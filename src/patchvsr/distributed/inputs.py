"""Serve the input to nodes that cannot see it: in pieces, checked by its SHA-256, kept on the node's disk."""

from __future__ import annotations

import getpass
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from patchvsr import files
from patchvsr.distributed.pieces import Piece, Pieces, add_piece
from patchvsr.errors import InputError
from patchvsr.jobs.identity import input_identity
from patchvsr.media.images.names import is_sequence, list_images

SHARED_BYTES = 2**20  # of a piece in the object store, from where all nodes take it that are served together
_HELD_PIECES = 4


@dataclass(frozen=True)
class ServedInput:
    """An input as workers know it. identity: its size and SHA-256. is_folder: whether it is a folder of images."""

    path: Path
    identity: dict[str, Any]
    is_folder: bool

    def is_visible(self) -> bool:
        """Return whether the input lies under the same path here. Its frames are compared with the scan later."""
        try:
            found = list_images(self.path) if is_sequence(self.path) else [self.path]
            return sum(file.stat().st_size for file in found) == self.identity["bytes"]
        except (OSError, InputError):
            return False


class InputServer:
    """The pieces of an input, on the machine that has it.

    put: stores a piece in the object store and returns its reference.
    """

    def __init__(self, path: Path, put: Callable[[Piece], Any]) -> None:
        self._pieces = Pieces(list_images(path) if is_sequence(path) else [path], SHARED_BYTES)
        self.piece = lru_cache(_HELD_PIECES)(lambda index: put(self._pieces.read(index)))

    def __len__(self) -> int:
        return len(self._pieces)


class InputCache:
    """The input on a node that was served it, for all workers of the node that restore it for the same job.

    job: the job's folder. Jobs with the same input keep one each, so that none ends with the input of another.
    token: names a job on a worker, so that what two workers receive stays apart.
    """

    def __init__(self, served: ServedInput, job: Path, token: str) -> None:
        self._served = served
        digest = hashlib.sha256(f"{served.identity['sha256']} {job}".encode()).hexdigest()
        self._folder = cache_folder() / f"input-{digest[:32]}"
        self._partial = self._folder.with_name(f"{self._folder.name}.{token}.partial")

    def find(self) -> Path | None:
        """Return the path of the complete input, None if it is not here. Reads all of it."""
        path = self._in(self._folder)
        return path if self._folder.is_dir() and input_identity(path) == self._served.identity else None

    def receive(self, index: int, piece: Piece) -> None:
        """Add a piece; the first begins anew."""
        if index == 0:
            files.remove_folder(self._partial)
        add_piece(piece, self._in(self._partial) if self._served.is_folder else self._partial)

    def complete(self) -> None:
        """Check all that was received and keep it. Raises InputError if it is not the input of the job."""
        path = self._in(self._partial)
        if input_identity(path) != self._served.identity:
            files.remove_folder(self._partial)
            raise InputError(f"{self._served.path}: was changed while it was sent to a worker; run again")
        try:
            self._partial.rename(self._folder)
        except OSError:  # it is there: another worker, which may be reading it, was faster, or it is the rest of one
            if self.find() is not None:
                files.remove_folder(self._partial)
                return
            files.remove_folder(self._folder)
            self._partial.rename(self._folder)

    def close(self, *, discard: bool) -> None:
        """Remove what was received in part, and with `discard` the complete input."""
        files.remove_folder(self._partial)
        if discard:
            files.remove_folder(self._folder)

    def _in(self, folder: Path) -> Path:
        return folder / (self._served.path.name or "input")


def cache_folder() -> Path:
    """Return the folder for what a node keeps during a job."""
    return Path(tempfile.gettempdir()) / f"patchvsr-{getpass.getuser()}"
