"""Encoded frames in a plain file: the payloads one after the other, and a table of what they are.

A unit of a job ends as such a file. It holds exactly what the encoder gave, for any codec and for images alike; times
and containers come later, when all units are put together.
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patchvsr import files
from patchvsr.errors import OutputError
from patchvsr.media.frames import Frame


@dataclass(frozen=True)
class EncodedFrame:
    """What an encoder made of one frame; encoders with B-frames give them out of order.

    order: the frame's place among the frames the encoder was given, from 0.
    """

    order: int
    is_keyframe: bool
    data: bytes


class FrameEncoder(ABC):
    """Frames in, encoded frames out, later and perhaps in another order."""

    @abstractmethod
    def encode(self, frame: Frame) -> list[EncodedFrame]: ...

    @abstractmethod
    def finish(self) -> list[EncodedFrame]:
        """What is still inside; nothing can be encoded afterwards."""


@dataclass(frozen=True)
class SegmentTable:
    """One entry in each list for every encoded frame, in the encoder's order; all of it can be stored as JSON.

    sizes in bytes; crcs are CRC-32 of the payloads.
    """

    orders: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)

    def add(self, encoded: EncodedFrame) -> None:
        self.orders.append(encoded.order)
        self.sizes.append(len(encoded.data))
        self.keyframes.append(encoded.is_keyframe)
        self.crcs.append(zlib.crc32(encoded.data))

    def __len__(self) -> int:
        return len(self.orders)

    @property
    def reorder(self) -> int:
        """By how many frames the encoder's order runs ahead of the order of display, at most."""
        return max((place - order for place, order in enumerate(self.orders)), default=0)


class SegmentWriter:
    """Encodes frames into a file; `close` makes it durable and returns its table.

    Raises OutputError when the disk is full or the file cannot be written; nothing is left then.
    """

    def __init__(self, path: Path, encoder: FrameEncoder) -> None:
        self.frames_written = 0
        self._path, self._encoder, self._table = path, encoder, SegmentTable()
        with files.reported(path, lambda: None):
            self._file = path.open("wb")

    def write(self, frame: Frame) -> None:
        with files.reported(self._path, self.abort):
            self._append(self._encoder.encode(frame))
        self.frames_written += 1

    def close(self) -> SegmentTable:
        """Raises OutputError also when the encoder did not give every frame back."""
        with files.reported(self._path, self.abort):
            self._append(self._encoder.finish())
            if sorted(self._table.orders) != list(range(self.frames_written)):
                raise OutputError(
                    f"{self._path}: the encoder took {self.frames_written} frames and gave {len(self._table)} back; "
                    "nothing was kept, please report this"
                )
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._table

    def abort(self) -> None:
        """Drop the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _append(self, encoded_frames: Iterable[EncodedFrame]) -> None:
        for encoded in encoded_frames:
            self._table.add(encoded)
            self._file.write(encoded.data)


def read_segments(segments: Sequence[tuple[Path, SegmentTable]]) -> Iterator[EncodedFrame]:
    """All encoded frames of segments that follow each other, their `order` counted through.

    Raises OutputError when a segment is not what was written.
    """
    first = 0
    for path, table in segments:
        with files.reported(path, lambda: None), path.open("rb") as file:
            for order, size, is_keyframe, crc in zip(
                table.orders, table.sizes, table.keyframes, table.crcs, strict=True
            ):
                data = file.read(size)
                if zlib.crc32(data) != crc:
                    raise OutputError(f"{path}: is damaged; remove it and run the same command again")
                yield EncodedFrame(first + order, is_keyframe, data)
        first += len(table)
