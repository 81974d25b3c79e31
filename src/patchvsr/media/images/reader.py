"""Read image sequences through the interface of a video.

Images carry no timing: they are given a constant frame rate, 24 frames per second by default.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np

from patchvsr.errors import InputError
from patchvsr.media.color import opaque
from patchvsr.media.frames import Frame, FrameReader, Image
from patchvsr.media.images.files import SEQUENCE, read_image
from patchvsr.media.images.names import list_images, numbering_notice
from patchvsr.media.info import StreamInfo, VideoInfo
from patchvsr.media.settings import ReadSettings

NOMINAL_RATE = Fraction(24)


def probe_images(path: str | Path, *, rate: Fraction | None = None) -> VideoInfo:
    """Describe a sequence by its first image; raise InputError if it cannot be read."""
    rate = NOMINAL_RATE if rate is None else rate
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
    """Return lines for the user about gaps in the numbering and contents of the first image that are not kept."""
    numbering = numbering_notice(files)
    return (*((numbering,) if numbering else ()), *read_image(files[0]).notices)


class ImageReader(FrameReader):
    """Read the frames of a sequence; the counterpart of `reader.VideoReader`."""

    def __init__(
        self,
        path: str | Path,
        settings: ReadSettings,
        *,
        resume_pts: int | None = None,
    ) -> None:
        self.info = probe_images(path, rate=settings.frame_rate)
        files = list_images(path)
        first, last = self._index(settings.start_s, 0), self._index(settings.end_s, len(files))
        if resume_pts is not None:
            if not first <= resume_pts < min(last, len(files)):
                raise InputError(f"{path}: no image number {resume_pts} to resume from; have files been removed?")
            first = resume_pts
        self._files = list(enumerate(files))[first:last]
        if not self._files:
            last_s = float((len(files) - 1) * self.info.time_base)
            raise InputError(f"{path}: start {settings.start_s} s is past the last image at {last_s:.3f} s")
        self._frames = self._read()

    def _read(self) -> Generator[Frame]:
        for index, file in self._files:
            image = read_image(file)
            self._check(image, file)
            # An image without alpha in a sequence with alpha is opaque.
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
        """Return the index of the first image at or after a time."""
        # Through str, so that 0.1 means a tenth and not the nearest binary fraction.
        return default if seconds is None else ceil(Fraction(str(seconds)) / self.info.time_base)


def _bits(image: Image) -> int:
    return 8 if image.rgb.dtype == np.uint8 else 16
