"""Clips in the folders of common test sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchvsr.errors import InputError
from patchvsr.evaluation.clips import find_clips, find_set
from patchvsr.media.layouts import content_digest, find_all, list_clips

LAYOUTS = {
    "videos": (["a.mp4", "b.mkv"], None, ["a", "b"]),
    "frames": (["a/0001.png", "a/0002.png", "b/0001.png"], None, ["a", "b"]),
    "UDM10": (["GT/archpeople/0000.png", "BIx4/archpeople/0000.png"], "original", ["archpeople"]),
    "SPMCS": (["car05/truth/0000.png", "car05/input4/0000.png", "car05/input2/0000.png"], "original", ["car05"]),
    "REDS": (["val_sharp/000/00000000.png", "val_sharp_bicubic/X4/000/00000000.png"], "original", ["000"]),
    "RealVSR": (["GT_test/0000/00000.png", "LQ_test/0000/00000.png"], "original", ["0000"]),
    "YouHQ40": (["GT/animal_0/0001.png", "LQ/animal_0/0001.png", "GT-Video/animal_0.mp4"], "original", ["animal_0"]),
}


def make(folder: Path, files: list[str]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    files, role, names = LAYOUTS[name]
    assert list(list_clips(make(tmp_path, files), role)) == names


@pytest.mark.parametrize("name", ["UDM10", "SPMCS", "REDS", "RealVSR", "YouHQ40"])
def test_a_set_brings_its_originals(tmp_path, name):
    files, _, names = LAYOUTS[name]
    (clip,) = find_set(make(tmp_path, files))
    assert clip.name == names[0]
    assert clip.original is not None and clip.lq is not None and clip.original != clip.lq
    assert (clip.original / Path(files[0]).name).is_file() and (clip.lq / Path(files[1]).name).is_file()


def test_low_quality_alone_has_no_original(tmp_path):
    (clip,) = find_set(make(tmp_path, ["LQ/000/0001.png"]))
    assert clip.original is None and clip.lq is not None


def test_what_has_no_partner_is_named(tmp_path):
    pred, gt = make(tmp_path / "p", ["a.mp4", "b.mp4"]), make(tmp_path / "g", ["a.mp4", "c.mp4"])
    with pytest.raises(InputError, match=r"p lacks c; .*g lacks b"):
        find_clips(pred, gt)


def test_two_clips_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="both called a"):
        list_clips(make(tmp_path, ["a.mp4", "a.mkv"]))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no clips in"):
        find_all(tmp_path)


def test_digest_of_a_folder_is_of_its_frames(tmp_path):
    first, second = (make(tmp_path / name, ["0001.png", "0002.png"]) for name in "ab")
    assert content_digest(first) == content_digest(second)
    (second / "0002.png").write_bytes(b"other")
    assert content_digest(first) != content_digest(second)
