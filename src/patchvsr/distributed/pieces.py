"""Files between machines that share no storage: in pieces, one at a time, so that nothing holds a whole file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

# Ray sends up to 100 KiB within a call. More goes through the object store, which keeps it for another second.
MESSAGE_BYTES = 96 * 2**10


class Piece(NamedTuple):
    """Some bytes of a file. name: of the file."""

    name: str
    offset: int
    data: bytes


class Pieces:
    """The pieces of one or more files, in their order, of `size` bytes at most. An empty file is one piece."""

    def __init__(self, files: Iterable[Path], size: int = MESSAGE_BYTES) -> None:
        self._files, self._size = list(files), size
        # The number of pieces up to the end of each file.
        self._ends = [*accumulate(max(1, -(-file.stat().st_size // size)) for file in self._files)]

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, index: int) -> Piece:
        """Return piece `index`."""
        number = bisect_right(self._ends, index)
        file, offset = self._files[number], (index - (self._ends[number - 1] if number else 0)) * self._size
        with file.open("rb") as stream:
            stream.seek(offset)
            return Piece(file.name, offset, stream.read(self._size))


def add_piece(piece: Piece, folder: Path) -> None:
    """Add a piece to its file in a folder, which is made if needed. The first piece of a file begins it anew."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / piece.name).open("ab" if piece.offset else "wb") as stream:
        stream.write(piece.data)
