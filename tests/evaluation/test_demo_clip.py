"""The example's clip: sound, uneven frame times, and an original only where the photo has the detail."""

import runpy
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
import torch
from clips import read_timed

from patchvsr.degradation.lq_file import bicubic_reduce
from patchvsr.measures.luma import luma
from patchvsr.media.tensors import read_rgb

SCRIPT = Path(__file__).parents[2] / "examples" / "make_demo_clip.py"

pytest.importorskip("skimage")


def make(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    """The script in this process."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_clip_with_sound_and_uneven_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target, original = tmp_path / "clip.mp4", tmp_path / "original.mkv"
    size = ("--size", "64", "36", "--scale", "4", "--frames", "6", "--vfr")
    make(monkeypatch, target, *size, "--hq", original)
    lq, times = zip(*read_timed(target), strict=True)
    assert [b - a for a, b in pairwise(times)] == [Fraction(n, 48) for n in (2, 2, 5, 2, 2)]
    hq = torch.stack([*read_rgb(original)])
    assert hq.shape == (6, 3, 144, 256)
    # The clip is the reduction of its original, up to what H.264 loses of the luma.
    difference = (luma(bicubic_reduce(hq, 4), "bt709") - luma(torch.stack(lq), "bt709")).abs().mean(dim=(1, 2, 3))
    assert difference.max() < 3
    next_frame = luma(bicubic_reduce(hq[1:], 4), "bt709") - luma(torch.stack(lq[:-1]), "bt709")
    assert next_frame.abs().mean() > 6
    with av.open(str(target)) as container:
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
        assert sum(part.shape[1] for part in sound) >= 48_000 * 6 * 3 // 48
        assert max(abs(part).max() for part in sound) > 0.05


def test_magnified_original_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SystemExit, match=r"magnify astronaut \(512x512\)"):  # a text: printed, with exit code 1
        make(monkeypatch, tmp_path / "clip.mp4", "--frames", "2", "--hq", tmp_path / "original.mkv")
    assert not list(tmp_path.iterdir())
