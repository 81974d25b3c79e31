"""Decoded images, alone or with the time they belong to, and what readers and writers of frames have in common."""

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
    duration: ticks of `time_base` until the next frame; for the last one what the source says, if anything.
    time_base: seconds per tick.
    alpha: (h, w) of the same dtype, as the source has it (straight, or multiplied in where the source is EXR).
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
    """What an image file holds.

    rgb, alpha: as in `Frame`.
    color: with the curve that `rgb` has here.
    notices: lines for the user about what the file holds and nobody keeps.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    color: ColorTags
    pix_fmt: str
    codec: str
    sample_aspect_ratio: Fraction | None = None
    notices: tuple[str, ...] = ()


class FrameReader(ABC, Iterator[Frame]):
    """Frames of `info`'s video, decoded as they are asked for; a context manager."""

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
        """Iterating afterwards yields nothing."""
        self._frames.close()


class FrameWriter(ABC):
    """Takes frames in order; a context manager that finishes the output, or removes it after an exception."""

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
