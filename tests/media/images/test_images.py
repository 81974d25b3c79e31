"""Image sequences in and out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from clips import make_video, picture
from PIL import Image, ImageCms

from patchvsr.errors import InputError, OutputError, SettingsError
from patchvsr.media import ColorTags, Frame, open_reader, open_writer, probe
from patchvsr.media.images.files import encode_image
from patchvsr.media.images.names import image_name, list_images, numbering_notice, split_pattern
from patchvsr.media.images.reader import sequence_notices
from patchvsr.media.settings import EncodeSettings, ReadSettings
from patchvsr.pixels.size import Size


def write(path, dtype=np.uint8, count=12, tmp=None, overwrite=False):
    """Write a sequence with the depth of `dtype`; returns the pixels."""
    deep = dtype is np.uint16
    source = make_video(tmp / f"source{deep}.mkv", count=2, pix_fmt="yuv420p10le" if deep else "yuv420p")
    info = probe(source)
    pixels = [picture(i, 20, 10, dtype) for i in range(count)]
    with open_writer(path, source=info, size=Size(20, 10), settings=EncodeSettings(overwrite=overwrite)) as writer:
        for i, rgb in enumerate(pixels):
            writer.write(Frame(rgb, i * 40, 40, info.time_base))
    assert writer.frames_written == count
    return pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["frames", "frames/%04d.png", "frames/shot_%d.png"])
def test_round_trip(tmp_path, dtype, name):
    pixels = write(tmp_path / name, dtype, tmp=tmp_path)
    with open_reader(tmp_path / name) as reader:
        frames = list(reader)
    assert np.array_equal(np.stack([f.rgb for f in frames]), np.stack(pixels))
    assert frames[0].rgb.dtype == dtype
    assert [f.time_s for f in frames] == [Fraction(i, 24) for i in range(12)]
    assert probe(tmp_path / name).bit_depth == (16 if dtype is np.uint16 else 8)
    assert not [f for f in (tmp_path / "frames").iterdir() if f.name.startswith(".")]


def test_natural_order_and_ranges(tmp_path):
    pixels = write(tmp_path / "f" / "%d.png", tmp=tmp_path)  # 1.png ... 12.png
    with open_reader(tmp_path / "f", ReadSettings(start_s=0.25, end_s=0.375)) as reader:
        frames = list(reader)
    assert [f.pts for f in frames] == [6, 7, 8]
    assert np.array_equal(frames[0].rgb, pixels[6])
    with pytest.raises(InputError, match="past the last image"):
        open_reader(tmp_path / "f", ReadSettings(start_s=9))


def test_images_must_be_alike(tmp_path):
    write(tmp_path / "f", tmp=tmp_path)
    write(tmp_path / "f" / "deep%d.png", np.uint16, count=1, tmp=tmp_path)
    with pytest.raises(InputError, match=r"deep1\.png: 20x10 with 16 bits"):
        list(open_reader(tmp_path / "f"))


def test_one_image_holds_one_frame(tmp_path):
    pixels = write(tmp_path / "one.png", count=1, tmp=tmp_path)
    assert np.array_equal(next(iter(open_reader(tmp_path / "one.png"))).rgb, pixels[0])
    with pytest.raises(OutputError, match="one image holds one frame"):
        write(tmp_path / "two.png", count=2, tmp=tmp_path)
    assert not [f for f in tmp_path.iterdir() if "two" in f.name]


def test_existing_images_are_refused_and_replaced_only_when_asked(tmp_path):
    write(tmp_path / "f", count=12, tmp=tmp_path)
    (tmp_path / "f" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds 12 images"):
        write(tmp_path / "f", tmp=tmp_path)
    write(tmp_path / "f", count=3, tmp=tmp_path, overwrite=True)
    assert sorted(f.name for f in (tmp_path / "f").iterdir()) == [
        "000001.png",
        "000002.png",
        "000003.png",
        "notes.txt",
    ]


@pytest.mark.parametrize(("given", "target"), [("f/%06d.png", "f"), ("f", "f/%06d.png"), ("f", "link")])
def test_images_of_the_input_are_never_replaced(tmp_path, given, target):
    write(tmp_path / "f", count=2, tmp=tmp_path)
    (tmp_path / "link").symlink_to("f")
    with pytest.raises(OutputError, match="holds images of the input"):
        open_writer(
            tmp_path / target,
            source=probe(tmp_path / given),
            size=Size(20, 10),
            settings=EncodeSettings(overwrite=True),
        )


def test_a_folder_on_another_disk_takes_images(tmp_path):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk only")
    with TemporaryDirectory(dir=elsewhere) as folder:
        (tmp_path / "f").symlink_to(folder)
        pixels = write(tmp_path / "f", count=2, tmp=tmp_path)
        assert np.array_equal(np.stack([frame.rgb for frame in open_reader(tmp_path / "f")]), np.stack(pixels))
        assert sorted(file.name for file in Path(folder).iterdir()) == ["000001.png", "000002.png"]


def test_abort_leaves_nothing(tmp_path):
    info = probe(make_video(tmp_path / "s.mkv", count=2))
    with pytest.raises(RuntimeError), open_writer(tmp_path / "f", source=info, size=Size(20, 10)) as writer:
        writer.write(Frame(picture(0, 20, 10), 0, 40, info.time_base))
        raise RuntimeError("stop")
    assert not (tmp_path / "f").exists() or not list((tmp_path / "f").iterdir())


def test_video_from_images(tmp_path):
    write(tmp_path / "f", tmp=tmp_path)
    with (
        open_reader(tmp_path / "f") as reader,
        open_writer(tmp_path / "out.mp4", source=reader.info, size=Size(20, 10)) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    info = probe(tmp_path / "out.mp4")
    assert (info.color.matrix, info.color.range) == (1, 1)
    with open_reader(tmp_path / "out.mp4") as reader:
        assert [f.time_s for f in reader] == [Fraction(i, 24) for i in range(12)]


def save_png(path):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(encode_image(picture(len(path.name), 8, 8), ".png"))
    return path


@pytest.mark.parametrize(
    ("pattern", "number", "name"),
    [
        ("%d.png", 12, "12.png"),
        ("%4d.png", 12, "0012.png"),
        ("%02d.png", 123, "123.png"),
        ("100 % größe_%03d.exr", 7, "100 % größe_007.exr"),
        ("one.png", 1, "one.png"),
    ],
)
def test_names_of_images(tmp_path, pattern, number, name):
    assert image_name(pattern, number) == name
    assert split_pattern(tmp_path / pattern) == (tmp_path, pattern)
    save_png(tmp_path / name)
    save_png(tmp_path / f"other_{name}")
    assert [f.name for f in list_images(tmp_path / pattern)] == [name]


def test_a_pattern_takes_only_the_names_it_gives(tmp_path):
    for name in ("07.png", "7.png", "007.png", "99.PNG", "100.png", "0100.png", ".08.png", "x08.png"):
        save_png(tmp_path / name)
    assert [f.name for f in list_images(tmp_path / "%02d.png")] == ["07.png", "99.PNG", "100.png"]
    assert [f.name for f in list_images(tmp_path / "%d.png")] == ["7.png", "99.PNG", "100.png"]


def test_several_numbers_in_a_pattern_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="a pattern holds one number"):
        probe(tmp_path / "a%d_b%d.png")


def test_a_folder_of_two_kinds_is_refused(tmp_path):
    save_png(tmp_path / "1.png")
    (tmp_path / "2.exr").write_bytes(b"")
    with pytest.raises(InputError, match=r"two kinds \(2\.exr and 1\.png\)"):
        probe(tmp_path)
    assert probe(tmp_path / "%d.png").declared_frames == 1


def test_gaps_in_the_numbers_are_told(tmp_path):
    files = [save_png(tmp_path / f"shot2_{number:03d}.png") for number in (11, 12, 15, 16)]
    assert numbering_notice(files[:2]) is None
    assert numbering_notice(files) == (
        "the image numbers skip from 12 to 15; all images are taken in this order as if without gaps"
    )
    other = save_png(tmp_path / "shot3_017.png")
    assert "from 12 to 15, from shot2_016.png to shot3_017.png;" in numbering_notice([*files, other])
    assert sequence_notices(files) == (numbering_notice(files),)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_sequences_have_the_rate_that_is_asked_for(tmp_path, rate):
    for number in range(4):
        save_png(tmp_path / "f" / f"{number}.png")
    info = probe(tmp_path / "f", rate=rate)
    assert (info.average_rate, info.duration_s) == (rate, pytest.approx(float(4 / rate)))
    with open_reader(tmp_path / "f", ReadSettings(rate=str(rate), start_s=0.04)) as reader:
        assert [f.time_s for f in reader] == [i / rate for i in range(1 if rate == 25 else 2, 4)]
    with pytest.raises(SettingsError, match="rate '0' is not understood"):
        open_reader(tmp_path / "f", ReadSettings(rate="0"))


def test_a_rate_for_a_video_is_refused(clip):
    with pytest.raises(SettingsError, match=r"rate 25: .* has its own timestamps"):
        open_reader(clip, ReadSettings(rate="25"))


def test_colour_tags_of_png_are_kept(tmp_path):
    source = replace(probe(save_png(tmp_path / "plain.png")), color=ColorTags(9, 16, 0, 2))
    tagged = encode_image(picture(0, 8, 8, np.uint16), ".png", source=source)
    (tmp_path / "hdr.png").write_bytes(tagged)
    assert probe(tmp_path / "hdr.png").color == ColorTags(9, 16, 0, 2)
    assert probe(tmp_path / "plain.png").color == ColorTags(2, 2, 0, 2)
    save_png(tmp_path / "f" / "1.png")
    (tmp_path / "f" / "2.png").write_bytes(encode_image(picture(0, 8, 8), ".png", source=source))
    with pytest.raises(InputError, match=r"2\.png: primaries, curve and pixel shape are \(9, 16, None\)"):
        list(open_reader(tmp_path / "f"))


def test_an_icc_profile_is_told(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture(0, 8, 8)).save(tmp_path / "1.png", icc_profile=profile)
    assert sequence_notices([tmp_path / "1.png"]) == (
        "the ICC profile of the images is not kept; pixels are unchanged",
    )


def test_unknown_kinds_of_image_are_refused():
    with pytest.raises(OutputError, match=r"\.tif: not a supported image format; use \.png or \.exr"):
        encode_image(picture(0, 8, 8), ".tif")


def test_grey_images_are_rgb_like_the_others(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "1.png")
    Image.fromarray(np.stack([values] * 3, -1)).save(tmp_path / "2.png")
    with open_reader(tmp_path) as reader:
        grey, rgb = list(reader)
    assert reader.info.color == ColorTags(2, 2, 0, 2)
    assert np.array_equal(grey.rgb, rgb.rgb)
