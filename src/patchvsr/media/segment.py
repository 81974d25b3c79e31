"""Store encoded frames in a plain file: concatenated payloads, and a table that describes them.

Each unit of a job is stored as such a file. It holds exactly the encoder's output, for any codec and for images. Times
and the container are added when all units are assembled.
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from patchvsr import files
from patchvsr.errors import OutputError
from patchvsr.media.frames import Frame
from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class EncodedFrame:
    """The encoded form of one frame; encoders with B-frames return them out of display order.

    order: index of the frame among those given to the encoder, from 0.
    """

    order: int
    is_keyframe: bool
    data: bytes


class FrameDecoder(ABC):
    """A decoder of what one encoder returns. Pictures come out reduced to thumbnails, with a delay, in display order.

    is_coarse: see `encoders.is_coarse`.
    """

    is_coarse = False

    @abstractmethod
    def decode(self, encoded: EncodedFrame, grid: Size) -> list[np.ndarray]:
        """Return thumbnails, see `pixels.compare.thumbnail`. Raises av.FFmpegError if a frame cannot be decoded."""

    @abstractmethod
    def finish(self, grid: Size) -> list[np.ndarray]:
        """Drain the decoder; nothing can be decoded afterwards."""

    def expected(self, frame: Frame) -> np.ndarray:
        """Return the pixels (h, w, 3) that a frame should decode to, apart from losses and its depth."""
        return frame.rgb


class FrameEncoder(ABC):
    """An encoder, which may return frames with a delay and in another order."""

    @abstractmethod
    def encode(self, frame: Frame) -> list[EncodedFrame]: ...

    @abstractmethod
    def finish(self) -> list[EncodedFrame]:
        """Drain the encoder; nothing can be encoded afterwards."""

    @abstractmethod
    def decoder(self) -> FrameDecoder | None:
        """Return a new decoder for what this encoder will return, None if there is none."""


@dataclass(frozen=True)
class SegmentTable:
    """One entry per encoded frame in every list, in the encoder's order; serialisable as JSON.

    orders: see `EncodedFrame`. sizes: of the payloads, in bytes. crcs: CRC-32 of the payloads.
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
        """The largest number of frames by which decoding order runs ahead of display order."""
        return max((place - order for place, order in enumerate(self.orders)), default=0)


class SegmentWriter:
    """Encode frames into a file; `close` flushes it to disk and returns its table.

    Raises OutputError if the disk is full or the file cannot be written, and removes the file.
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
        """Finish the file and return its table; raise OutputError also if the encoder did not return every frame."""
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
        """Close and remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _append(self, encoded_frames: Iterable[EncodedFrame]) -> None:
        for encoded in encoded_frames:
            self._table.add(encoded)
            self._file.write(encoded.data)


def read_segments(segments: Sequence[tuple[Path, SegmentTable]]) -> Iterator[EncodedFrame]:
    """Yield the encoded frames of consecutive segments, with `order` counted across all of them.

    Raises OutputError if a segment differs from what was written.
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
