"""Alpha from file to file."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import make_video, picture
from PIL import Image

from patchvsr.errors import InputError
from patchvsr.media import EncodeSettings, Frame, open_reader, open_writer, probe
from patchvsr.media.color import ColorConverter, ColorTags, opaque
from patchvsr.media.encoders import alpha_notice, choose_encoder
from patchvsr.pixels.size import Size


def codes(bits: int) -> np.ndarray:
    """(256, 256): every value of 8 or 16 bits."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    return values if bits == 16 else (values & 255).astype(np.uint8)


def pixels(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB and alpha that have nothing in common."""
    values = codes(bits)
    return np.stack([values, values[::-1], values.T], axis=-1), values[:, ::-1].copy()


@pytest.fixture
def images(tmp_path):
    """`images(bits)`: a folder of two PNGs with alpha."""

    def make(bits: int):
        folder = tmp_path / f"rgba{bits}"
        source = probe(make_video(tmp_path / "s.mkv", count=2, pix_fmt="yuv420p10le" if bits == 16 else "yuv420p"))
        rgb, alpha = pixels(bits)
        with open_writer(folder, source=source, size=Size(256, 256)) as writer:
            writer.write(Frame(rgb, 0, 1, source.time_base, alpha))
            writer.write(Frame(rgb, 1, 1, source.time_base, alpha[::-1]))
        return folder

    return make


def convert(source, target, **settings):
    with (
        open_reader(source) as reader,
        open_writer(target, source=reader.info, size=Size(256, 256), settings=EncodeSettings(**settings)) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    with open_reader(target) as reader:
        return reader.info, list(reader)


@pytest.mark.parametrize("bits", [8, 16])
def test_png_keeps_alpha_exactly(images, bits):
    rgb, alpha = pixels(bits)
    with open_reader(images(bits)) as reader:
        frames = list(reader)
    assert reader.info.has_alpha
    assert np.array_equal(frames[0].rgb, rgb)
    assert np.array_equal(frames[0].alpha, alpha) and frames[0].alpha.dtype == rgb.dtype
    assert np.array_equal(frames[1].alpha, alpha[::-1])


@pytest.mark.parametrize(
    ("codec", "suffix", "bits", "stored"),
    [
        ("ffv1", ".mkv", 8, "bgra"),
        ("ffv1", ".mkv", 16, "gbrap16le"),
        ("qtrle", ".mov", 8, "argb"),
        ("png", ".mov", 8, "rgba"),
        ("png", ".mov", 16, "rgba64be"),
    ],
)
def test_lossless_video_keeps_alpha_exactly(images, tmp_path, codec, suffix, bits, stored):
    rgb, alpha = pixels(bits)
    info, frames = convert(images(bits), tmp_path / f"out{suffix}", codec=codec)
    assert info.has_alpha and info.pix_fmt == stored
    assert np.array_equal(frames[0].rgb, rgb)
    assert np.array_equal(frames[0].alpha, alpha) and frames[0].alpha.dtype == rgb.dtype


@pytest.mark.parametrize("bits", [8, 16])
def test_prores_keeps_alpha_within_a_step_of_ten_bits(images, tmp_path, bits):
    _, alpha = pixels(bits)
    info, frames = convert(images(bits), tmp_path / "out.mov", codec="prores_ks")
    assert info.has_alpha and info.pix_fmt.startswith("yuva444p")
    error = np.abs(frames[0].alpha / 65535 - alpha / np.iinfo(alpha.dtype).max)
    assert 0 < error.max() <= 1.25 / 1023


@pytest.mark.parametrize(
    ("mode", "transparent"),
    [("LA", True), ("P", True), ("P", False), ("RGB", True), ("L", False)],
)
def test_other_kinds_of_png(tmp_path, mode, transparent):
    """Grey with alpha, palettes with and without a transparent entry, one colour declared transparent."""
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) % 4
    image = Image.fromarray(values, "L").convert(mode)
    expected = np.full((8, 8), 255)
    if mode == "LA":
        image.putalpha(Image.fromarray(values * 60))
        expected = values * 60
    options = {}
    if mode == "P" and transparent:
        options["transparency"] = bytes([0, 128, 255, 7])
        expected = np.array([0, 128, 255, 7])[np.array(image)]
    if mode == "RGB":
        options["transparency"] = (2, 2, 2)
        expected = np.where(values == 2, 0, 255)
    image.save(tmp_path / "one.png", **options)
    frame = next(open_reader(tmp_path / "one.png"))
    assert probe(tmp_path / "one.png").has_alpha == transparent
    assert (frame.alpha is not None) == transparent
    if transparent:
        assert np.array_equal(frame.alpha, expected)
    assert np.array_equal(frame.rgb, np.stack([values] * 3, axis=-1))


@pytest.mark.parametrize("pix_fmt", ["yuva420p", "yuva422p12le", "argb", "rgba64le", "gbrap12le"])
def test_every_layout_gives_back_its_alpha(pix_fmt):
    depth = max(c.bits for c in av.VideoFormat(pix_fmt).components)
    dtype = np.uint8 if depth == 8 else np.uint16
    alpha = (codes(16) >> (16 - depth)).astype(np.uint64)
    alpha = ((alpha * np.iinfo(dtype).max + (2**depth - 1) // 2) // (2**depth - 1)).astype(dtype)
    converter = ColorConverter(ColorTags(matrix=1, range=1))
    frame = converter.from_rgb(picture(0, 256, 256, dtype), pix_fmt, alpha)
    assert frame.format.name == pix_fmt
    assert np.array_equal(converter.to_alpha(frame), alpha)


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize(
    ("pix_fmt", "dtype"), [("ya8", "u1"), ("ya16le", "<u2"), ("ya16be", ">u2"), ("gray16be", ">u2")]
)
def test_grey_is_exact(pix_fmt, dtype, matrix):
    grey = codes(np.dtype(dtype).itemsize * 8)
    alpha = grey[:, ::-1]
    frame = av.VideoFrame(256, 256, pix_fmt)
    frame.planes[0].update(np.stack([grey, alpha][: len(frame.format.components)], axis=-1).astype(dtype).tobytes())
    converter = ColorConverter(ColorTags(matrix=matrix, range=2))
    assert np.array_equal(
        converter.to_alpha(frame), alpha if pix_fmt.startswith("ya") else opaque(np.dstack([grey] * 3))
    )
    assert np.array_equal(converter.to_rgb(frame), np.stack([grey] * 3, axis=-1))


def test_alpha_does_not_touch_the_colours():
    converter = ColorConverter(ColorTags(matrix=1, range=1))
    for dtype, pix_fmt in ((np.uint8, "yuv444p"), (np.uint16, "yuv444p10le")):
        rgb, alpha = picture(0, 256, 256, dtype), codes(np.dtype(dtype).itemsize * 8)
        without = converter.from_rgb(rgb, pix_fmt)
        with_alpha = converter.from_rgb(rgb, pix_fmt.replace("yuv", "yuva"), alpha)
        for plane, other in zip(with_alpha.planes, without.planes, strict=False):
            error = np.frombuffer(plane, dtype).astype(int) - np.frombuffer(other, dtype)
            # 8 bits go another way with alpha: by the exact formula instead of swscale.
            assert np.abs(error).max() <= (1 if dtype is np.uint8 else 0)


def test_frames_without_alpha_are_opaque_where_alpha_is_needed(tmp_path):
    rgb = picture(0, 8, 8)
    Image.fromarray(np.dstack([rgb, rgb[..., 0]])).save(tmp_path / "1.png")
    Image.fromarray(rgb).save(tmp_path / "2.png")
    frames = list(open_reader(tmp_path))
    assert (frames[1].alpha == 255).all() and frames[1].alpha.dtype == np.uint8


def test_alpha_that_comes_later_is_refused(tmp_path):
    rgb = picture(0, 8, 8)
    Image.fromarray(rgb).save(tmp_path / "1.png")
    Image.fromarray(np.dstack([rgb, rgb[..., 0]])).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"2\.png: has alpha, but the sequence starts without"):
        list(open_reader(tmp_path))


def test_lost_alpha_is_told(images):
    source = probe(images(8))

    def notice(**settings):
        encoder = choose_encoder(EncodeSettings(**settings), source, Size(256, 256))
        return alpha_notice(source, encoder.name, encoder.pix_fmt, encoder.options)

    assert notice() == (
        "alpha is not kept: libx264 has no such format; use codec ffv1 or prores_ks, or write PNG images"
    )
    assert notice(codec="ffv1", pix_fmt="bgr0") == "alpha is not kept: bgr0 has none; use pix_fmt bgra or gbrap16le"
    assert notice(codec="ffv1") is None
    assert notice(codec="prores_ks", encoder_options={"profile": "4444"}) is None
    assert notice(codec="prores_ks", encoder_options={"profile": "hq"}) == (
        "alpha is not kept: ProRes profile hq has none; use profile=4444"
    )
    assert alpha_notice(source, "png", "rgba") is None


def test_video_without_alpha_has_none(clip):
    assert not probe(clip).has_alpha
    assert next(open_reader(clip)).alpha is None
    assert next(open_reader(clip)).time_base == Fraction(1, 1000)


@pytest.mark.parametrize("pix_fmt", ["bgra", "gbrap", "rgba64be", "gbrap16le"])
def test_colours_of_rgb_with_alpha_are_lossless(pix_fmt):
    rgb, alpha = pixels(16 if "16" in pix_fmt or "64" in pix_fmt else 8)
    converter = ColorConverter(ColorTags(matrix=1, range=1))
    frame = converter.from_rgb(rgb, pix_fmt, alpha)
    assert np.array_equal(converter.to_rgb(frame), rgb)
    assert np.array_equal(converter.to_alpha(frame), alpha)
