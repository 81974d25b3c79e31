"""Clips to evaluate: matched by name, with what an LQ set records of them, and refused where sizes do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import make_video, picture

from patchvsr.degradation.degrade import BICUBIC
from patchvsr.degradation.lq_set import write_lq_set
from patchvsr.errors import InputError
from patchvsr.evaluation.clips import Clip, check_clip, find_clips, find_set
from patchvsr.evaluation.measure import MeasureSettings, measure
from patchvsr.media.images.files import encode_image
from patchvsr.pixels.size import Size


def video(path: Path, size: tuple[int, int], *, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_video(path, count=count, size=size, codec="ffv1", pix_fmt="bgr0")


def frames(folder: Path, size: tuple[int, int], *, count: int = 3) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        (folder / f"{index:04d}.png").write_bytes(encode_image(picture(index, *size), ".png"))
    return folder


def last_record(clip: Clip) -> dict:
    steps = measure(clip, MeasureSettings(("psnr",)))
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value


@pytest.fixture
def degraded(tmp_path: Path) -> tuple[Path, Path]:
    """Originals as a test set, one of which does not divide by the scale, and an LQ set of their first two frames."""
    gt = tmp_path / "REDS"
    frames(gt / "val_sharp" / "000", (64, 48))
    frames(gt / "val_sharp" / "night" / "001", (66, 50))
    write_lq_set(gt, tmp_path / "lq", 4, settings=BICUBIC, max_frames=2)
    return gt, tmp_path / "lq"


def test_an_lq_set_hands_on_what_it_records(degraded):
    gt, lq = degraded
    assert (lq / "night" / "001.mkv").is_file()
    assert find_set(lq, gt) == [
        Clip("000", None, gt / "val_sharp" / "000", lq / "000.mkv", None, 2),
        Clip("night/001", None, gt / "val_sharp" / "night" / "001", lq / "night" / "001.mkv", Size(64, 48), 2),
    ]
    assert [(clip.original, clip.crop, clip.frames) for clip in find_set(lq)] == [(None, None, 2), (None, (64, 48), 2)]


def test_the_comparison_takes_what_the_set_shows_of_an_original(degraded, tmp_path):
    gt, lq = degraded
    pred = tmp_path / "pred"
    frames(pred / "000", (64, 48), count=2)
    frames(pred / "night" / "001", (64, 48), count=2)
    cropped = find_clips(pred, gt, lq)[1]
    record = last_record(cropped)
    assert (record["width"], record["height"], record["frames"]) == (64, 48, 2)
    (pred / "night" / "001" / "0002.png").write_bytes(encode_image(picture(2, 64, 48), ".png"))
    with pytest.raises(InputError, match="different numbers of frames"):
        last_record(cropped)


def test_an_lq_set_is_checked(degraded):
    gt, lq = degraded
    (gt / "val_sharp" / "000" / "0001.png").write_bytes(encode_image(picture(9), ".png"))
    assert len(find_set(lq)) == 2
    with pytest.raises(InputError, match=r"val_sharp/000 is missing or not the file"):
        find_set(lq, gt)
    (lq / "000.mkv").unlink()
    video(lq / "000.mkv", (16, 12), count=2)
    with pytest.raises(InputError, match=r"000\.mkv does not hold the pixels"):
        find_set(lq)


def test_single_files_belong_together_whatever_their_names(tmp_path):
    pred, gt = video(tmp_path / "restored.mkv", (64, 48)), frames(tmp_path / "original", (64, 48))
    assert find_clips(pred, gt) == [Clip("restored", pred, gt)]


SIZES = {
    "alike": ((64, 48), (64, 48), (16, 12), None, None),
    "no original": ((64, 48), None, (16, 12), None, None),
    "to even sides": ((66, 50), None, (16, 12), None, None),
    "the recorded part": ((64, 48), (66, 50), (16, 12), Size(64, 48), None),
    "a cropped output": ((64, 32), (64, 48), (16, 12), None, r"o\.mkv of 64x32 cannot .* \S*g\.mkv of 64x48"),
    "beyond the part": ((66, 50), (66, 50), (16, 12), Size(64, 48), "of 66x50, of which the input shows 64x48"),
    "a cropped output without original": ((64, 32), None, (16, 12), None, "of 64x32 has other proportions"),
    "an original of something else": (None, (64, 32), (16, 12), None, r"g\.mkv of 64x32 has other proportions"),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes(tmp_path, name):
    *sizes, crop, refusal = SIZES[name]
    output, original, lq = (size and video(tmp_path / f"{x}.mkv", size) for x, size in zip("ogl", sizes, strict=True))
    clip = Clip("a", output, original, lq, crop)
    if refusal is None:
        assert check_clip(clip) is None
    else:
        with pytest.raises(InputError, match=refusal):
            check_clip(clip)
