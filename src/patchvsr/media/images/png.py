"""Read and write PNG images of 8 or 16 bits with FFmpeg. Grey and palette images become RGB."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from patchvsr.errors import InputError
from patchvsr.media.color import BT709, FULL, RGB, ColorConverter, ColorTags, has_alpha, is_rgb
from patchvsr.media.frames import Image
from patchvsr.media.info import check_size


def read_png(file: Path) -> Image:
    """Return the image in a PNG file; raise InputError if it is unreadable."""
    frame = _decode(file)
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    tags = ColorTags(primaries, transfer, RGB, FULL)
    # Grey counts as full-range YUV; without chroma, the matrix does not matter.
    converter = ColorConverter(tags if is_rgb(frame.format) else ColorTags(matrix=BT709, range=FULL))
    return Image(
        rgb=converter.to_rgb(frame),
        alpha=converter.to_alpha(frame) if has_alpha(frame) else None,
        color=tags,
        pix_fmt=frame.format.name,
        codec="png",
        notices=("the ICC profile of the images is not kept; pixels are unchanged",) if _has_profile(file) else (),
    )


def encode_png(rgb: np.ndarray, alpha: np.ndarray | None, color: ColorTags) -> bytes:
    """Return the bytes of a PNG in the depth of `rgb`, tagged with the primaries and transfer of `color`."""
    deep = rgb.dtype == np.uint16
    pix_fmt = ("rgb48be" if deep else "rgb24") if alpha is None else ("rgba64be" if deep else "rgba")
    frame = ColorConverter(ColorTags(matrix=RGB, range=FULL)).from_rgb(rgb, pix_fmt, alpha)
    frame.color_primaries, frame.color_trc = color.primaries, color.transfer
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, pix_fmt
    encoder.time_base = Fraction(1, 24)  # required by the encoder, without effect
    encoder.thread_count = 1
    return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])


def _decode(file: Path) -> av.VideoFrame:
    try:
        with file.open("rb") as data:  # checked first, because the decoder would allocate the memory
            check_size(file, *struct.unpack(">II", data.read(24)[16:]))
        with av.open(str(file.absolute()), format="png_pipe") as container:
            return next(container.decode(video=0))
    except (av.FFmpegError, OSError, struct.error, StopIteration, IndexError) as err:
        raise InputError(f"{file}: not a readable PNG image; replace or remove it") from err


def _has_profile(file: Path) -> bool:
    """Return whether an iCCP chunk precedes the pixels. (Reading the side data crashes with PyAV 18.1.)"""
    with file.open("rb") as stream:
        return b"iCCP" in stream.read(4096).split(b"IDAT")[0]
