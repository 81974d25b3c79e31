"""PNG sequences in and out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from clips import make_video, picture

from patchvsr.errors import InputError, OutputError
from patchvsr.media import Frame, open_reader, open_writer, probe


def write(path, dtype=np.uint8, count=12, tmp=None, overwrite=False):
    """Write a sequence with the depth of `dtype`; returns the pixels."""
    deep = dtype is np.uint16
    source = make_video(tmp / f"source{deep}.mkv", count=2, pix_fmt="yuv420p10le" if deep else "yuv420p")
    info = probe(source)
    pixels = [picture(i, 20, 10, dtype) for i in range(count)]
    with open_writer(path, source=info, width=20, height=10, overwrite=overwrite) as writer:
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
    with open_reader(tmp_path / "f", start_s=0.25, end_s=0.375) as reader:
        frames = list(reader)
    assert [f.pts for f in frames] == [6, 7, 8]
    assert np.array_equal(frames[0].rgb, pixels[6])
    with pytest.raises(InputError, match="past the last image"):
        open_reader(tmp_path / "f", start_s=9)


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


def test_abort_leaves_nothing(tmp_path):
    info = probe(make_video(tmp_path / "s.mkv", count=2))
    with pytest.raises(RuntimeError), open_writer(tmp_path / "f", source=info, width=20, height=10) as writer:
        writer.write(Frame(picture(0, 20, 10), 0, 40, info.time_base))
        raise RuntimeError("stop")
    assert not (tmp_path / "f").exists() or not list((tmp_path / "f").iterdir())


def test_video_from_images(tmp_path):
    write(tmp_path / "f", tmp=tmp_path)
    with (
        open_reader(tmp_path / "f") as reader,
        open_writer(tmp_path / "out.mp4", source=reader.info, width=20, height=10) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    info = probe(tmp_path / "out.mp4")
    assert (info.color.matrix, info.color.range) == (1, 1)
    with open_reader(tmp_path / "out.mp4") as reader:
        assert [f.time_s for f in reader] == [Fraction(i, 24) for i in range(12)]
