"""What is known about a video before its frames are read."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from patchvsr.errors import InputError
from patchvsr.media.color import ColorTags
from patchvsr.media.hdr import HdrMetadata

# No camera and no screen has more; what declares more is damaged, and would ask for gigabytes a frame.
MAX_SIDE_PX = 16384


def check_size(path: str | Path, width: int, height: int) -> None:
    """Raises InputError for a picture that nobody can have meant."""
    if max(width, height) > MAX_SIDE_PX:
        raise InputError(
            f"{path}: declares {width}x{height} pixels; at most {MAX_SIDE_PX} a side are supported, "
            f"and more usually means that the file is damaged"
        )


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container; `index` is its place in the source file."""

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

    Sizes are coded sizes in pixels: `rotation` (degrees counterclockwise, a display hint) and
    `sample_aspect_ratio` are carried, never applied. `start_pts` is the time of the first frame in
    ticks of `time_base`. `average_rate` and `declared_frames` are hints for progress bars: variable
    frame rate makes the first meaningless and many files lie about the second. `stored_color` holds
    the tags of the file, `color` what was decided for those left unspecified; `chroma_unsited` says that
    the place of chroma samples is unknown as well and taken to be the left of their pixels. `lost_side_data`
    names, in words, what lies beside the pixels and cannot be carried. With `has_alpha`, every frame has alpha.
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
