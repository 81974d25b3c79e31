"""Describe a video before its frames are read."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from patchvsr.errors import InputError
from patchvsr.media.color import ColorTags
from patchvsr.media.hdr import HdrMetadata

# No camera or screen exceeds this. A larger declared size means damage and would allocate gigabytes per frame.
MAX_SIDE_PX = 16384


def check_size(path: str | Path, width: int, height: int) -> None:
    """Raise InputError if a declared picture size in pixels is implausibly large."""
    if max(width, height) > MAX_SIDE_PX:
        raise InputError(
            f"{path}: declares {width}x{height} pixels; at most {MAX_SIDE_PX} a side are supported, "
            f"and more usually means that the file is damaged"
        )


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container; `index` is its index in the source file."""

    index: int
    type: str
    codec: str
    language: str | None = None
    title: str | None = None
    attached_picture: bool = False

    def __str__(self) -> str:
        language = f", {self.language}" if self.language else ""
        return f"stream {self.index} ({self.type}, {self.codec}{language})"


@dataclass(frozen=True)
class VideoInfo:
    """The video stream and its container.

    width, height: coded size in pixels.
    rotation, sample_aspect_ratio: display hints (degrees counterclockwise, pixel shape); carried, never applied.
    start_pts: PTS of the first frame, in ticks of `time_base`.
    average_rate, declared_frames: hints for progress bars only. A variable frame rate makes the first meaningless,
        and many files declare a wrong second.
    stored_color: the colour tags of the file. color: the same with defaults for unspecified tags.
    chroma_unsited: the chroma sample location is unknown as well and is taken to be left.
    lost_side_data: readable names of the side data that cannot be carried.
    has_alpha: whether every frame has alpha.
    """

    path: Path
    container: str
    width: int
    height: int
    pix_fmt: str
    bit_depth: int
    average_rate: Fraction | None
    time_base: Fraction
    start_pts: int
    duration_s: float | None
    declared_frames: int | None
    color: ColorTags
    stored_color: ColorTags
    chroma_unsited: bool
    sample_aspect_ratio: Fraction | None
    rotation: int
    interlaced: bool
    codec: str
    video_index: int
    streams: tuple[StreamInfo, ...]
    hdr: HdrMetadata | None = None
    lost_side_data: tuple[str, ...] = ()
    has_alpha: bool = False
