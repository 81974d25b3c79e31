"""Read and write single images; the suffix decides the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from patchvsr.errors import OutputError
from patchvsr.media.color import FULL, RGB, ColorTags
from patchvsr.media.frames import Image
from patchvsr.media.images.exr import encode_exr, read_exr, require_openexr
from patchvsr.media.images.names import IMAGE_SUFFIXES
from patchvsr.media.images.png import encode_png, read_png
from patchvsr.media.info import VideoInfo

SEQUENCE = "image2"  # FFmpeg's name for an image sequence as a container

# H.273 primaries and curves of ordinary video, which every viewer assumes for an untagged PNG.
_PLAIN_PRIMARIES, _PLAIN_CURVES = (1, 2, 5, 6), (1, 2, 6)


def read_image(file: Path) -> Image:
    """Return the image in a file.

    Raises InputError if it is unreadable or has values that cannot be kept, and SettingsError for EXR without OpenEXR.
    """
    return read_exr(file) if file.suffix.lower() == ".exr" else read_png(file)


def check_image_format(suffix: str) -> None:
    """Raise OutputError for an unsupported image suffix, and SettingsError for EXR without OpenEXR."""
    if suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{suffix}: not a supported image format; use .png or .exr")
    if suffix.lower() == ".exr":
        require_openexr()


def encode_image(
    rgb: np.ndarray, suffix: str, *, alpha: np.ndarray | None = None, source: VideoInfo | None = None
) -> bytes:
    """Return the bytes of an image file; equal pixels give equal bytes.

    rgb, alpha: (h, w, 3) and (h, w), uint8 or uint16, with the curve of `source`. PNG keeps the depth, EXR stores half.
    source: the video from which the pixels come; None means untagged RGB.
    """
    check_image_format(suffix)
    if suffix.lower() == ".png":
        return encode_png(rgb, alpha, _png_tags(source))
    return encode_exr(
        rgb,
        alpha,
        source.color if source else ColorTags(matrix=RGB, range=FULL),
        premultiplied=source is not None and source.codec == "exr",
        sample_aspect_ratio=source.sample_aspect_ratio if source else None,
    )


def _png_tags(source: VideoInfo | None) -> ColorTags:
    if source is None:
        return ColorTags()
    tags = source.color
    plain = tags.primaries in _PLAIN_PRIMARIES and tags.transfer in _PLAIN_CURVES
    return ColorTags() if plain and source.container != SEQUENCE else tags
