"""Image sequences with the interface of a video.

Images have no time: reading gives them the rate that is asked for, 24 frames a second by default, and writing
drops the times of its frames.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np

from patchvsr.errors import InputError, OutputError, SettingsError
from patchvsr.media import publish
from patchvsr.media.color import opaque
from patchvsr.media.frames import Frame, FrameReader, FrameWriter, Image
from patchvsr.media.image_files import SEQUENCE, check_image_format, read_image, write_image
from patchvsr.media.image_names import (
    DEFAULT_PATTERN,
    image_name,
    is_sequence,
    list_images,
    matching_images,
    means_sequence,
    numbering_notice,
    split_pattern,
)
from patchvsr.media.info import StreamInfo, VideoInfo

__all__ = ["ImageReader", "ImageWriter", "is_sequence", "means_sequence", "probe_images", "sequence_notices"]

NOMINAL_RATE = Fraction(24)


def probe_images(path: str | Path, *, rate: Fraction | None = None) -> VideoInfo:
    """Describe a sequence by its first image; raises InputError, and SettingsError for an impossible rate."""
    rate = NOMINAL_RATE if rate is None else rate
    if rate <= 0:
        raise SettingsError(f"rate {rate}: images cannot be shown at it; give more than 0 frames a second")
    files = list_images(path)
    image = read_image(files[0])
    height, width = image.rgb.shape[:2]
    return VideoInfo(
        path=Path(path),
        container=SEQUENCE,
        width=width,
        height=height,
        pix_fmt=image.pix_fmt,
        bit_depth=_bits(image),
        average_rate=rate,
        time_base=1 / rate,
        start_pts=0,
        duration_s=float(len(files) / rate),
        declared_frames=len(files),
        color=image.color,
        stored_color=image.color,
        chroma_unsited=False,
        sample_aspect_ratio=image.sample_aspect_ratio,
        rotation=0,
        interlaced=False,
        codec=image.codec,
        video_index=0,
        streams=(StreamInfo(index=0, type="video", codec=image.codec),),
        has_alpha=image.alpha is not None,
    )


def sequence_notices(files: Sequence[Path]) -> tuple[str, ...]:
    """Lines for the user: gaps in the numbers, and what the first image holds that is not kept."""
    numbering = numbering_notice(files)
    return (*((numbering,) if numbering else ()), *read_image(files[0]).notices)


class ImageReader(FrameReader):
    """Frames of a sequence; the counterpart of `reader.VideoReader`."""

    def __init__(
        self, path: str | Path, *, start_s: float | None, end_s: float | None, rate: Fraction | None = None
    ) -> None:
        self.info = probe_images(path, rate=rate)
        files = list_images(path)
        first, last = self._index(start_s, 0), self._index(end_s, len(files))
        self._files = list(enumerate(files))[first:last]
        if not self._files:
            last_s = float((len(files) - 1) * self.info.time_base)
            raise InputError(f"{path}: start {start_s} s is past the last image at {last_s:.3f} s")
        self._frames = self._read()

    def _read(self) -> Generator[Frame]:
        for index, file in self._files:
            image = read_image(file)
            self._check(image, file)
            # An image without alpha among others that have it is opaque.
            alpha = opaque(image.rgb) if image.alpha is None and self.info.has_alpha else image.alpha
            yield Frame(image.rgb, index, 1, self.info.time_base, alpha)

    def _check(self, image: Image, file: Path) -> None:
        info = self.info
        height, width = image.rgb.shape[:2]
        if (width, height, _bits(image)) != (info.width, info.height, info.bit_depth):
            raise InputError(
                f"{file}: {width}x{height} with {_bits(image)} bits, but the sequence starts with "
                f"{info.width}x{info.height} with {info.bit_depth} bits; all images must be alike"
            )
        if image.alpha is not None and not info.has_alpha:
            raise InputError(f"{file}: has alpha, but the sequence starts without; all images must be alike")
        given, first = (
            (tags.primaries, tags.transfer, aspect)
            for tags, aspect in ((image.color, image.sample_aspect_ratio), (info.color, info.sample_aspect_ratio))
        )
        if given != first:
            raise InputError(
                f"{file}: primaries, curve and pixel shape are {given}, but {first} at the start of the sequence; "
                f"all images must be alike"
            )

    def _index(self, seconds: float | None, default: int) -> int:
        """The first image at or after a time."""
        # Through str, so that 0.1 means a tenth and not the nearest binary fraction.
        return default if seconds is None else ceil(Fraction(str(seconds)) / self.info.time_base)


class ImageWriter(FrameWriter):
    """Writes a sequence; the counterpart of `writer.VideoWriter`.

    Images are collected in a hidden folder and moved to their names by `close`. A path without a placeholder that
    ends like an image takes exactly one frame.
    """

    def __init__(self, path: str | Path, *, source: VideoInfo, width: int, height: int, overwrite: bool) -> None:
        self.frames_written = 0
        self._source = source
        self._size = (height, width, 3)
        self._done = False
        self._folder, pattern = split_pattern(path)
        self._pattern = pattern or DEFAULT_PATTERN
        check_image_format(Path(self._pattern).suffix)
        self._path = Path(path)
        self._existing = matching_images(self._folder, self._pattern)
        if self._existing and not overwrite:
            raise OutputError(f"{path}: already holds {len(self._existing)} images; use --overwrite or another name")
        self._temporary = publish.temporary_folder(self._folder, self._pattern)

    def write(self, frame: Frame) -> None:
        """Write one image; raises OutputError (disk full) and ValueError (frame of another size)."""
        if frame.rgb.shape != self._size:
            raise ValueError(f"frame is {frame.rgb.shape}, the writer was opened for {self._size}")
        name = image_name(self._pattern, self.frames_written + 1)
        with publish.reported(self._path, self.abort):
            write_image(self._temporary / name, frame, self._source)
        self.frames_written += 1

    def close(self) -> None:
        """Move the images to their names; raises OutputError."""
        if self._done:
            return
        if not self.frames_written:
            self.abort()
            raise OutputError(f"{self._path}: no frame was written; nothing was created")
        with publish.reported(self._path, self.abort):
            for file in self._existing:
                file.unlink()
            publish.move_files(self._temporary, self._folder)
        self._done = True

    def abort(self) -> None:
        """Remove everything this writer made."""
        publish.remove_folder(self._temporary)


def _bits(image: Image) -> int:
    return 8 if image.rgb.dtype == np.uint8 else 16
