"""Tilings: exact weights, whole tokens, the paper's numbers."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from patchvsr.errors import SettingsError
from patchvsr.patches.grid import Box, WeightedBox, padded_length, tiling
from patchvsr.patches.windows import MODES, Line, windows

VARIANTS = [
    ("auxiliary", {}),
    ("independent", {}),
    *[("overlap", {"overlap": o}) for o in (0.0, 0.1, 0.25, 0.5, 0.75, 0.99)],
    *[("shifted", {"step": s, "phase": p}) for s in range(6) for p in (0, 1 / 3)],
]


def lines() -> Iterator[Line]:
    for size, multiple in [(1, 1), (2, 1), (3, 1), (5, 1), (8, 1), (2, 2), (6, 2), (8, 2), (32, 2), (12, 4)]:
        for length in range(size, 4 * size + 8):
            if length % multiple == 0:
                yield Line(length, size, multiple)


@pytest.mark.parametrize(("mode", "options"), VARIANTS)
def test_every_line_is_shared_out_exactly(mode: str, options: dict) -> None:
    for line in lines():
        total = np.zeros(line.length, dtype=int)
        found = windows(line, mode, **options)
        for window in found:
            assert len(window.weights) == line.size
            assert 0 <= window.start <= line.length - line.size
            assert window.start % line.multiple == 0
            assert min(window.weights) >= 0 and max(window.weights) > 0
            total[window.start : window.start + line.size] += window.weights
        assert (total == 256).all(), line
        starts = [window.start for window in found]
        assert starts == sorted(set(starts))
        assert windows(line, mode, **options) == found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(5, 8, 8), (7, 18, 22), (11, 30, 8), (6, 16, 34)])
def test_weights_of_a_tiling_sum_to_exactly_one(mode: str, shape: tuple[int, int, int]) -> None:
    for step in range(3):
        total = torch.zeros(shape)
        tiles = tiling(shape, (5, 8, 8), mode, step=step)
        for tile in tiles:
            assert tile.box.shape == (5, 8, 8)
            total[tile.box.slices] += tile.weight()
        assert (total == 1).all()
        assert [tile.box for tile in tiles] == sorted({tile.box for tile in tiles})


def test_auxiliary_is_the_papers_formula() -> None:
    """L = 2 S: aux 1 - 2d/S around the split line, base 2d/S, base 1 in the outer halves."""
    first, auxiliary, last = windows(Line(64, 32, 2), "auxiliary")
    assert (first.start, auxiliary.start, last.start) == (0, 16, 32)
    rising = [8, 24, 40, 56, 72, 88, 104, 120, 136, 152, 168, 184, 200, 216, 232, 248]  # 256 (1 - 2d/S)
    assert list(auxiliary.weights) == rising + rising[::-1]
    assert list(first.weights) == [256] * 16 + rising[::-1]
    assert list(last.weights) == rising + [256] * 16


@pytest.mark.parametrize(("length", "size"), [(32, 8), (96, 32), (15, 5), (12, 4)])
def test_auxiliary_follows_the_distance_to_the_split_line(length: int, size: int) -> None:
    expected = np.zeros(length)
    centres = np.arange(length) + 0.5
    for split in range(size, length, size):
        expected += np.maximum(0, 1 - 2 * np.abs(centres - split) / size)
    auxiliary = np.zeros(length)
    for window in windows(Line(length, size), "auxiliary"):
        if window.start % size:
            auxiliary[window.start : window.start + size] += np.array(window.weights) / 256
    assert np.abs(auxiliary - expected).max() <= 0.5 / 256


def test_one_patch_is_one_box_in_every_mode() -> None:
    for mode in MODES:
        (tile,) = tiling((5, 32, 32), (5, 32, 32), mode, step=3)
        assert tile.box == Box(0, 5, 0, 32, 0, 32)
        assert (tile.weight() == 1).all()


def test_overlap_keeps_its_promise_and_is_smooth() -> None:
    for line in lines():
        tokens = line.size // line.multiple
        promised = min(-(-tokens // 4), tokens - 1) * line.multiple
        starts = [window.start for window in windows(line, "overlap")]
        assert all(line.size - (b - a) >= promised for a, b in pairwise(starts))
    left, _ = windows(Line(56, 32, 2), "overlap")
    falling = np.array(left.weights[24:])
    assert falling.tolist() == [254, 234, 199, 153, 103, 57, 22, 2]


def test_shifted_moves_and_spreads() -> None:
    line = Line(96, 32, 2)
    cuts = []
    for step in range(8):
        owner = np.zeros(96, dtype=int)
        for i, window in enumerate(windows(line, "shifted", step=step)):
            assert set(window.weights) <= {0, 256}
            owner[window.start : window.start + 32] += i * (np.array(window.weights) > 0)
        cuts.append(int(np.flatnonzero(np.diff(owner))[0] + 1) % 32)
    assert len(set(cuts)) == 8, "eight steps, eight places"
    gaps = np.diff(sorted(cuts), append=min(cuts) + 32)
    assert gaps.max() <= 8, "no stretch of the period is left alone"
    first, second = (tiling((5, 64, 64), (5, 32, 32), "shifted", step=s) for s in (0, 1))
    assert first != second
    assert first == tiling((5, 64, 64), (5, 32, 32), "shifted", step=0)


def test_independent_is_auxiliary_without_auxiliaries() -> None:
    grid = [window.start for window in windows(Line(96, 32, 2), "independent")]
    assert grid == [0, 32, 64]
    assert set(grid) < {window.start for window in windows(Line(96, 32, 2), "auxiliary")}


def test_box() -> None:
    box = Box(1, 3, 4, 8, 10, 16)
    assert box.shape == (2, 4, 6)
    assert torch.zeros(7, 5, 20, 20)[box.slices].shape == (7, 2, 4, 6)
    assert Box(0, 1, 0, 1, 5, 6) < Box(0, 1, 1, 2, 0, 1) < Box(1, 2, 0, 1, 0, 1)


def test_weights_are_exact_in_float32() -> None:
    tile = WeightedBox(Box(0, 1, 0, 1, 0, 1), ((255,), (253,), (251,)))
    assert tile.weight().item() == 255 * 253 * 251 / 2**24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5, 32, 64), (5, 32, 32), "diagonal"), "unknown joint mode 'diagonal'"),
        (
            ((5, 30, 64), (5, 32, 32), "auxiliary"),
            "height: canvas length 30 is smaller than the patch size 32",
        ),
        (((5, 32, 63), (5, 32, 32), "auxiliary"), "width: .* multiples of 2"),
        (((5, 33, 64), (5, 31, 32), "auxiliary"), "height: .* multiples of 2"),
        (((0, 32, 32), (0, 32, 32), "auxiliary"), "at least 1"),
    ],
)
def test_refusals(arguments: tuple, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tiling(*arguments)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_overlap_out_of_range(overlap: float) -> None:
    with pytest.raises(SettingsError, match="overlap"):
        tiling((5, 32, 64), (5, 32, 32), "overlap", overlap=overlap)


@pytest.mark.parametrize(
    ("length", "patch", "multiple", "expected"),
    [(120, 32, 2, 120), (67, 32, 2, 68), (31, 32, 2, 32), (1, 32, 2, 32), (33, 32, 2, 34), (6, 5, 1, 6)],
)
def test_padded_length(length: int, patch: int, multiple: int, expected: int) -> None:
    assert padded_length(length, patch, multiple) == expected


def test_padded_length_refuses() -> None:
    with pytest.raises(SettingsError):
        padded_length(0, 32, 2)
    with pytest.raises(SettingsError):
        padded_length(40, 31, 2)
