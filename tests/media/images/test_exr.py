"""EXR images: linear light in and out."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest
from clips import make_video, picture

from patchvsr.errors import InputError, SettingsError
from patchvsr.media import Frame, open_reader, open_writer, probe
from patchvsr.media.encoders import alpha_notice
from patchvsr.media.images.exr import CHROMATICITIES
from patchvsr.media.images.names import list_images
from patchvsr.media.images.reader import sequence_notices
from patchvsr.media.images.transfer import linear_of_codes, linear_to_pq, pq_to_linear
from patchvsr.pixels.size import Size

OpenEXR = pytest.importorskip("OpenEXR")


def save(path, planes: dict[str, np.ndarray], **header):
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}, planes).write(
        str(path)
    )
    return path


def load(path):
    image = OpenEXR.File(str(path), separate_channels=True)
    return {name: channel.pixels.copy() for name, channel in image.channels().items()}, image.header()


def corner(x: int, y: int) -> np.ndarray:
    return np.array([x, y], np.int32)


def grey(values, **others):
    plane = np.ascontiguousarray(values)
    return {"R": plane, "G": plane, "B": plane, **others}


def halfs() -> np.ndarray:
    """Every half from 0 to 100, in a rectangle."""
    values = np.arange(0x7C00, dtype=np.uint16).view(np.float16)
    values = values[values <= 100]
    return np.resize(values, (149, 149))


def copy(source, target):
    with open_reader(source) as reader:
        info = reader.info
        with open_writer(target, source=info, size=Size(info.width, info.height)) as writer:
            for frame in reader:
                writer.write(frame)
    return info


def test_halfs_come_back(tmp_path):
    values = halfs()
    save(tmp_path / "in.exr", grey(values, A=np.linspace(0, 1, values.size).reshape(149, 149).astype(np.float16)))
    info = copy(tmp_path / "in.exr", tmp_path / "out.exr")
    assert (info.bit_depth, info.has_alpha, info.codec) == (16, True, "exr")
    assert (info.color.transfer, info.color.matrix, info.pix_fmt) == (16, 0, "gbrapf16le")
    before, _ = load(tmp_path / "in.exr")
    after, _ = load(tmp_path / "out.exr")
    assert set(after) == set("RGBA") and after["R"].dtype == np.float16
    exact = values > 2**-10
    assert np.array_equal(after["G"][exact], before["G"][exact])
    steps = after["R"].view(np.int16).astype(int) - before["R"].view(np.int16)
    assert np.abs(steps).max() <= 1
    covered = before["A"] >= 1 / 32
    assert np.array_equal(after["A"][covered], before["A"][covered])
    assert np.abs(after["A"].astype(float) - before["A"]).max() < 1e-5


def test_channels_keep_their_colours(tmp_path):
    planes = {name: np.full((8, 8), value, np.float32) for name, value in zip("RGB", (0.25, 2, 100), strict=True)}
    copy(save(tmp_path / "in.exr", planes), tmp_path / "out.exr")
    assert [float(load(tmp_path / "out.exr")[0][name][0, 0]) for name in "RGB"] == [0.25, 2, 100]


@pytest.mark.parametrize("bad", [-0.5, np.nan, np.inf, 100.5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_that_cannot_be_kept_are_refused(tmp_path, bad, dtype):
    values = np.ones((8, 8), dtype)
    values[3, 5] = bad
    save(tmp_path / "in.exr", {**grey(np.ones((8, 8), dtype)), "G": values})
    with pytest.raises(InputError, match=rf"in\.exr: G is {float(dtype(bad)):g} at \(5, 3\), 1 such values; only 0 to"):
        probe(tmp_path / "in.exr")


def test_a_negative_zero_is_zero(tmp_path):
    save(tmp_path / "in.exr", grey(np.full((8, 8), -0.0, np.float32)))
    assert next(open_reader(tmp_path / "in.exr")).rgb.max() == 0


@pytest.mark.parametrize("primaries", [1, 9])
def test_known_primaries_are_carried(tmp_path, primaries):
    save(tmp_path / "in.exr", grey(np.ones((8, 8), np.float16)), chromaticities=CHROMATICITIES[primaries])
    info = copy(tmp_path / "in.exr", tmp_path / "out.exr")
    assert info.color.primaries == primaries
    assert np.allclose(load(tmp_path / "out.exr")[1]["chromaticities"], CHROMATICITIES[primaries], atol=1e-6)
    copy(tmp_path / "in.exr", tmp_path / "out.png")
    tags = probe(tmp_path / "out.png").color
    assert (tags.primaries, tags.transfer) == (primaries, 16)


def test_what_is_not_kept_is_told(tmp_path):
    aces = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    plane = np.ones((8, 8), np.float16)
    save(tmp_path / "a1.exr", grey(plane, Z=plane, A=plane), chromaticities=aces)
    assert sequence_notices(list_images(tmp_path)) == (
        "channels that are not kept: Z",
        "the chromaticities of the images are not kept (no H.273 primaries); pixels are unchanged",
    )
    info = probe(tmp_path / "a1.exr")
    assert "stay premultiplied by alpha" in alpha_notice(info, "png", "rgba")
    assert alpha_notice(info, "exr", "rgba") is None


def test_pixel_shape_is_kept(tmp_path):
    save(tmp_path / "in.exr", grey(np.ones((8, 8), np.float16)), pixelAspectRatio=4 / 3)
    assert copy(tmp_path / "in.exr", tmp_path / "out.exr").sample_aspect_ratio == Fraction(4, 3)
    assert load(tmp_path / "out.exr")[1]["pixelAspectRatio"] == pytest.approx(4 / 3)


def test_tiles_and_a_part_of_the_display_window(tmp_path):
    windows = {"dataWindow": (corner(3, 2), corner(6, 5)), "displayWindow": (corner(1, 1), corner(10, 8))}
    tiles = {"type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()}
    save(tmp_path / "in.exr", grey(np.ones((4, 4), np.float16)), **windows, **tiles)
    frame = next(open_reader(tmp_path / "in.exr"))
    assert frame.rgb.shape == (8, 10, 3)
    inside = frame.rgb[1:5, 2:6]
    assert (inside == inside[0, 0, 0]).all() and frame.rgb.astype(int).sum() == inside.astype(int).sum() > 0


def test_pixels_outside_the_picture_are_refused(tmp_path):
    windows = {"dataWindow": (corner(-1, 0), corner(6, 7)), "displayWindow": (corner(0, 0), corner(6, 7))}
    save(tmp_path / "in.exr", grey(np.ones((8, 8), np.float16)), **windows)
    with pytest.raises(InputError, match="outside its display window; crop it to 7x8"):
        probe(tmp_path / "in.exr")


def test_unsuitable_files_are_refused(tmp_path):
    plane = np.ones((64, 64), np.float16)
    save(tmp_path / "y.exr", {"Y": plane})
    with pytest.raises(InputError, match="has the channels Y; images need R, G and B"):
        probe(tmp_path / "y.exr")
    save(tmp_path / "uint.exr", grey(plane.astype(np.uint32)))
    with pytest.raises(InputError, match="channel R is not a full plane of half or float"):
        probe(tmp_path / "uint.exr")
    OpenEXR.File([OpenEXR.Part({}, grey(plane), "left"), OpenEXR.Part({}, grey(plane), "right")]).write(
        str(tmp_path / "parts.exr")
    )
    with pytest.raises(InputError, match="several parts"):
        probe(tmp_path / "parts.exr")


@pytest.mark.parametrize("kept", [0, 100, 0.5, -30])
def test_damaged_files_are_refused(tmp_path, kept):
    noise = np.random.default_rng(0).random((64, 64)).astype(np.float16)
    data = save(tmp_path / "in.exr", grey(noise)).read_bytes()
    (tmp_path / "in.exr").write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"in\.exr: not a readable EXR image"):
        probe(tmp_path / "in.exr")


def test_images_need_the_extra_only_for_exr(tmp_path, monkeypatch):
    save(tmp_path / "in.exr", grey(np.ones((8, 8), np.float16)))
    source = probe(make_video(tmp_path / "s.mkv", count=2))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(SettingsError, match=r"pip install 'patchvsr\[exr\]'"):
        probe(tmp_path / "in.exr")
    with pytest.raises(SettingsError, match=r"pip install 'patchvsr\[exr\]'"):
        open_writer(tmp_path / "new" / "%d.exr", source=source, size=Size(8, 8))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("pix_fmt", "dtype"), [("yuv420p", np.uint8), ("yuv420p10le", np.uint16)])
def test_video_becomes_the_light_of_its_display(tmp_path, pix_fmt, dtype):
    source = probe(make_video(tmp_path / "s.mkv", count=2, pix_fmt=pix_fmt))
    rgb = picture(0, 20, 10, dtype)
    files = []
    for name in ("a", "b"):
        with open_writer(tmp_path / name / "%04d.exr", source=source, size=Size(20, 10)) as writer:
            writer.write(Frame(rgb, 0, 40, source.time_base))
        files.append((tmp_path / name / "0001.exr").read_bytes())
    assert files[0] == files[1]
    planes, _ = load(tmp_path / "a" / "0001.exr")
    expected = (rgb / np.iinfo(dtype).max) ** 2.4  # BT.1886
    assert np.allclose(planes["R"], expected[..., 0], rtol=1e-3, atol=1e-6)


def test_straight_alpha_is_multiplied_in(tmp_path):
    rgb, alpha = np.full((8, 8, 3), 65535, np.uint16), np.full((8, 8), 32768, np.uint16)
    source = probe(make_video(tmp_path / "s.mkv", count=2, pix_fmt="yuv420p10le"))
    with open_writer(tmp_path / "one.exr", source=source, size=Size(8, 8)) as writer:
        writer.write(Frame(rgb, 0, 40, source.time_base, alpha))
    planes, _ = load(tmp_path / "one.exr")
    assert planes["R"][0, 0] == planes["A"][0, 0] == 0.5


def test_png_and_exr_agree(tmp_path):
    """PNG without tags is sRGB; EXR to PNG keeps PQ, and that PNG gives the same light again."""
    rgb = np.full((8, 8, 3), 188, np.uint8)  # half of white is 187.5 in sRGB
    source = probe(make_video(tmp_path / "s.mkv", count=2))
    with open_writer(tmp_path / "one.png", source=source, size=Size(8, 8)) as writer:
        writer.write(Frame(rgb, 0, 40, source.time_base))
    copy(tmp_path / "one.png", tmp_path / "two.exr")
    copy(tmp_path / "two.exr", tmp_path / "three.png")
    copy(tmp_path / "three.png", tmp_path / "four.exr")
    light = load(tmp_path / "two.exr")[0]["R"]
    assert light[0, 0] == pytest.approx(0.5029, abs=5e-4)
    assert np.array_equal(load(tmp_path / "four.exr")[0]["R"], light)


# What the standards print. ST 2084: 100 cd/m2 is 0.5081; BT.2408: PQ of 203 cd/m2 is 58 %, HLG 75 % is reference
# white, and HLG 100 % is 1 / 0.265 of it. IEC 61966-2-1: 0.5 is 0.2140.
@pytest.mark.parametrize(
    ("transfer", "signal", "light"),
    [
        (16, 0.508078, 1),
        (16, 0.5807, 2.03),
        (16, 1, 100),
        (16, 0, 0),
        (18, 0.75, 1),
        (18, 1, 3.774),
        (18, 0.5, 1 / 12 / 0.26496),
        (13, 0.5, 0.21404),
        (13, 0.04, 0.04 / 12.92),
        (8, 0.3, 0.3),
        (1, 0.5, 0.5**2.4),
        (4, 0.5, 0.5**2.2),
    ],
)
def test_curves_follow_their_standards(transfer, signal, light):
    table = linear_of_codes(transfer, is_rgb=True, bits=16)
    assert len(table) == 65536 and (np.diff(table) >= 0).all()
    assert table[round(signal * 65535)] == pytest.approx(light, rel=1e-3)


def test_pq_and_its_inverse():
    signal = np.arange(1, 65536) / 65535
    assert np.abs(linear_to_pq(pq_to_linear(signal)) - signal).max() < 1e-6
    codes = np.arange(65536)
    assert np.array_equal(np.rint(linear_to_pq(pq_to_linear(codes / 65535)) * 65535), codes)
