"""Decoded images and timed frames, and the base classes of frame readers and writers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TypeVar

import numpy as np

from patchvsr.media.color import ColorTags
from patchvsr.media.info import VideoInfo

Context = TypeVar("Context")


@dataclass(frozen=True, eq=False)
class Frame:
    """RGB pixels and their exact time.

    rgb: (h, w, 3), uint8 in [0, 255] or uint16 in [0, 65535]; the same transfer curve as the source.
    pts: presentation time in ticks of `time_base`; strictly increasing along a video.
    duration: ticks of `time_base` until the next frame; for the last one the source's value, None if unknown.
    time_base: seconds per tick.
    alpha: (h, w) of the same dtype; straight, or premultiplied if the source is EXR.
    """

    rgb: np.ndarray
    pts: int
    duration: int | None
    time_base: Fraction
    alpha: np.ndarray | None = None

    @property
    def time_s(self) -> Fraction:
        """Presentation time in seconds, exact."""
        return self.pts * self.time_base


@dataclass(frozen=True, eq=False)
class Image:
    """The contents of an image file.

    rgb, alpha: as in `Frame`.
    color: its transfer curve is that of `rgb`, which may differ from the file's.
    notices: lines for the user about contents of the file that are not kept.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    color: ColorTags
    pix_fmt: str
    codec: str
    sample_aspect_ratio: Fraction | None = None
    notices: tuple[str, ...] = ()


class FrameReader(ABC, Iterator[Frame]):
    """An iterator over the frames of the video `info`, decoded on demand; a context manager."""

    info: VideoInfo
    _frames: Generator[Frame]

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self: Context) -> Context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; iterating afterwards yields nothing."""
        self._frames.close()


class FrameWriter(ABC):
    """Take frames in order; as a context manager, finish the output, or remove it after an exception."""

    frames_written: int = 0
    notices: tuple[str, ...] = ()

    @abstractmethod
    def write(self, frame: Frame) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def abort(self) -> None: ...

    def __enter__(self: Context) -> Context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()
