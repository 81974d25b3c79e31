"""Shots of made-up clips whose cuts are known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest

from patchvsr.media.shots import NEIGHBOURS, mark_cuts

HEIGHT, WIDTH = 90, 160


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture of soft colour blobs, about 20 pixels wide."""
    blobs = np.random.default_rng(seed).integers(40, 216, (height // 20 + 2, width // 20 + 2, 3), dtype=np.uint8)
    return cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC)


def grainy(picture: np.ndarray, seed: int) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, 4, picture.shape)
    return (picture + grain).clip(0, 255).astype(np.uint8)


def clip(*shots: tuple[np.ndarray, int]) -> list[np.ndarray]:
    """Every picture for so many frames, under grain."""
    pictures = [picture for picture, count in shots for _ in range(count)]
    return [grainy(picture, seed) for seed, picture in enumerate(pictures)]


def shots_of(frames: list[np.ndarray]) -> list[range]:
    """The frame numbers of every shot that `mark_cuts` finds."""
    starts = [index for index, (is_first, _) in enumerate(mark_cuts(frames)) if is_first]
    return [range(start, end) for start, end in pairwise([*starts, len(frames)])]


def ranges(*counts: int) -> list[range]:
    ends = np.cumsum(counts).tolist()
    return [range(end - count, end) for end, count in zip(ends, counts, strict=True)]


@pytest.mark.parametrize("counts", [(7, 5, 9), (1, 6), (6, 1), (2, 2), (1, 1), (5, 1, 5), (4, 1, 1, 2, 6)])
def test_finds_hard_cuts_up_to_both_ends_and_single_frames(counts: tuple[int, ...]) -> None:
    frames = clip(*((scene(seed), count) for seed, count in enumerate(counts)))
    assert shots_of(frames) == ranges(*counts)


def test_finds_cuts_between_similar_shots() -> None:
    picture = scene(0, HEIGHT, WIDTH + 12)
    assert shots_of(clip((picture[:, 12:], 8), (picture[:, :-12], 8))) == ranges(8, 8)  # a step aside


def test_dark_grain_hides_no_cut_and_makes_none() -> None:
    night, lighter = np.full((HEIGHT, WIDTH, 3), 12.0), np.full((HEIGHT, WIDTH, 3), 26.0)
    assert shots_of(clip((night, 16))) == ranges(16)
    assert shots_of(clip((night, 8), (lighter, 8))) == ranges(8, 8)


def test_motion_is_no_cut() -> None:
    wide = scene(0, HEIGHT + 40, WIDTH + 400)
    speeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    lefts = np.cumsum(speeds)
    pan = [grainy(wide[:HEIGHT, left : left + WIDTH], seed) for seed, left in enumerate(lefts)]
    assert shots_of(pan) == ranges(len(pan))


def test_depth_and_size_do_not_matter() -> None:
    frames = clip((scene(0), 4), (scene(1), 4))
    assert shots_of([frame.astype(np.uint16) * 257 for frame in frames]) == ranges(4, 4)
    assert shots_of([frame.repeat(6, axis=0).repeat(6, axis=1) for frame in frames]) == ranges(4, 4)
    assert shots_of([]) == [] and shots_of(frames[:1]) == ranges(1)


def test_frames_pass_unchanged_and_few_are_held() -> None:
    frames, taken = clip((scene(0), 6), (scene(1), 6)), 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in frames:
            taken += 1
            yield frame

    for index, (is_first, frame) in enumerate(mark_cuts(source())):
        assert frame is frames[index] and is_first == (index in (0, 6))
        assert taken <= index + 1 + NEIGHBOURS
