"""Matrices and ranges against the formulas of H.273."""

from __future__ import annotations

import av
import numpy as np
import pytest

from patchvsr.media.color import MATRICES, ColorConverter, ColorTags, bit_depth

PATCHES = {
    "white": (1, 1, 1),
    "black": (0, 0, 0),
    "red": (1, 0, 0),
    "blue": (0, 0, 1),
    "mixed": (0.7, 0.2, 0.4),
}


def expected_yuv(rgb, matrix: int, color_range: int, depth: int) -> list[float]:
    """Y, Cb, Cr of one colour, written down from the standard."""
    kr, kb, _ = MATRICES[matrix]
    red, green, blue = rgb
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    peak, step = 2**depth - 1, 2 ** (depth - 8)
    if color_range == 2:
        return [luma * peak, min(cb * peak + 128 * step, peak), min(cr * peak + 128 * step, peak)]
    return [(219 * luma + 16) * step, (224 * cb + 128) * step, (224 * cr + 128) * step]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "yuv422p12le", "yuv444p16le"])
def test_levels_follow_the_standard(matrix, color_range, pix_fmt):
    converter = ColorConverter(ColorTags(matrix=matrix, range=color_range))
    depth = bit_depth(av.VideoFormat(pix_fmt))
    for rgb in PATCHES.values():
        dtype = np.uint8 if depth == 8 else np.uint16
        flat = np.rint(np.ones((16, 16, 3)) * rgb * np.float64(np.iinfo(dtype).max)).astype(dtype)
        frame = converter.from_rgb(flat, pix_fmt)
        got = [float(np.frombuffer(memoryview(p), dtype)[0]) for p in frame.planes]
        assert np.allclose(got, expected_yuv(rgb, matrix, color_range, depth), atol=1.01)
        back = converter.to_rgb(frame)
        assert back.dtype == dtype
        assert np.abs(back.astype(int) - flat).max() <= 3 * np.iinfo(dtype).max / (2**depth - 1)


@pytest.mark.parametrize("pix_fmt", ["bgr0", "gbrp", "rgb48be", "gbrp16le", "rgb24"])
def test_rgb_formats_are_lossless(pix_fmt):
    dtype = np.uint8 if bit_depth(av.VideoFormat(pix_fmt)) == 8 else np.uint16
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (9, 7, 3)).astype(dtype)
    converter = ColorConverter(ColorTags(matrix=1, range=1))
    assert np.array_equal(converter.to_rgb(converter.from_rgb(noise, pix_fmt)), noise)


def test_gray_and_narrow_rgb():
    converter = ColorConverter(ColorTags(matrix=6, range=1))
    white = np.full((8, 8, 3), 65535, np.uint16)
    for pix_fmt in ("gray10le", "gbrp10le", "gbrp12le", "p010le"):
        assert (converter.to_rgb(converter.from_rgb(white, pix_fmt)) == 65535).all(), pix_fmt


@pytest.mark.parametrize("matrix", [1, 9])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_tags_of_a_frame_do_not_change_its_pixels(matrix, pix_fmt):
    """Reserved code points included; the matrix is the converter's, whatever the frame says."""
    converter = ColorConverter(ColorTags(matrix=matrix, range=1))
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    expected = converter.to_rgb(converter.from_rgb(noise, pix_fmt))
    for colorspace, primaries, transfer in [(2, 2, 2), (1, 1, 1), (9, 9, 16), (3, 3, 3), (0, 0, 0), (14, 22, 18)]:
        frame = converter.from_rgb(noise, pix_fmt)
        frame.colorspace, frame.color_primaries, frame.color_trc = colorspace, primaries, transfer
        assert np.array_equal(converter.to_rgb(frame), expected), (colorspace, primaries, transfer)
