"""Sets of low-quality clips: recorded, checked, and never half there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from clips import make_video, read_timed

from patchvsr.degradation.degrade import BICUBIC, REALBASICVSR
from patchvsr.degradation.lq_set import RECORD, check_lq_set, read_lq_set, write_lq_set
from patchvsr.errors import InputError, OutputError
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import read_rgb

SETTINGS = replace(REALBASICVSR, strength=0.7)


@pytest.fixture
def hq(tmp_path: Path) -> Path:
    folder = tmp_path / "hq"
    folder.mkdir()
    make_video(folder / "one.mp4", count=4)
    make_video(folder / "two.mkv", count=3, size=(66, 50))
    (folder / "notes.txt").write_text("no video")
    return folder


def test_a_set_is_what_its_record_says(hq: Path, tmp_path: Path):
    made = write_lq_set(hq, tmp_path / "lq", 4, settings=SETTINGS, seed=3, max_frames=3)
    assert check_lq_set(tmp_path / "lq", hq) == read_lq_set(tmp_path / "lq") == made
    assert (made.scale, made.seed, made.max_frames, made.settings) == (4, 3, 3, SETTINGS)
    assert {"torch", "av", "libavcodec", "pillow"} <= set(made.versions)
    one, two = made.clips
    assert (one.source, one.file, one.lq.frames, one.lq.cropped) == ("one.mp4", "one.mkv", 3, False)
    assert (two.source, two.lq.frames, two.lq.hq_size, two.lq.cropped) == ("two.mkv", 3, (64, 48), True)
    frames = [frame.shape for frame in read_rgb(tmp_path / "lq" / two.file)]
    assert frames == [(3, 12, 16)] * 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hq", "lq"]


def test_a_clip_does_not_depend_on_the_others(hq: Path, tmp_path: Path):
    both = write_lq_set(hq, tmp_path / "both", 2, settings=SETTINGS)
    again = write_lq_set(hq, tmp_path / "again", 2, settings=SETTINGS)
    (hq / "one.mp4").unlink()
    alone = write_lq_set(hq, tmp_path / "alone", 2, settings=SETTINGS)
    assert both == again and alone.clips == both.clips[1:]
    other_seed = write_lq_set(hq, tmp_path / "seed", 2, settings=SETTINGS, seed=1)
    assert other_seed.clips[0].lq.sha256 != alone.clips[0].lq.sha256


def test_check_finds_other_pixels_and_other_originals(hq: Path, tmp_path: Path):
    lq = tmp_path / "lq"
    write_lq_set(hq, lq, 2, settings=BICUBIC)
    original = (hq / "one.mp4").read_bytes()
    (hq / "one.mp4").write_bytes(original + b"x")
    check_lq_set(lq)  # the set itself is as it was
    with pytest.raises(InputError, match=r"one\.mp4 is missing or not the file"):
        check_lq_set(lq, hq)
    frames = read_timed(lq / "two.mkv")
    frames[0][0][0, 0, 0] = 1 - frames[0][0][0, 0, 0].round()
    (lq / "two.mkv").unlink()
    with pytest.raises(InputError, match=r"two\.mkv"):
        check_lq_set(lq)
    with LosslessWriter(lq / "two.mkv") as writer:
        for frame, time_s in frames:
            writer.write(frame, time_s)
    with pytest.raises(InputError, match=r"two\.mkv does not hold the pixels"):
        check_lq_set(lq)


def test_records_that_are_none_are_refused(hq: Path, tmp_path: Path):
    lq = tmp_path / "lq"
    write_lq_set(hq, lq, 2, settings=BICUBIC)
    for text in ("not json", "[]", json.dumps({"format": 2, "clips": []})):
        (lq / RECORD).write_text(text)
        with pytest.raises(InputError, match="no readable lq_set"):
            read_lq_set(lq)
    (lq / RECORD).write_text(json.dumps({"clips": []}))
    with pytest.raises(InputError, match="has format 1, and this version reads 2: make the set again"):
        read_lq_set(lq)


def test_nothing_is_left_of_a_set_that_failed(hq: Path, tmp_path: Path):
    (hq / "zzz.mp4").write_text("no video either")
    with pytest.raises(InputError, match=r"zzz\.mp4"):
        write_lq_set(hq, tmp_path / "lq", 2, settings=BICUBIC)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hq"]


def test_refuses_folders_that_do_not_do(hq: Path, tmp_path: Path):
    (tmp_path / "lq").mkdir()
    with pytest.raises(OutputError, match="exists"):
        write_lq_set(hq, tmp_path / "lq", 2, settings=BICUBIC)
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "no clips in"), ("nope", "is not a folder")):
        with pytest.raises(InputError, match=message):
            write_lq_set(tmp_path / folder, tmp_path / "new", 2, settings=BICUBIC)
    make_video(hq / "one.mov", count=2)
    with pytest.raises(InputError, match="both called one"):
        write_lq_set(hq, tmp_path / "new", 2, settings=BICUBIC)
