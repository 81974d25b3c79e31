"""A picture that shows what another shows is never refused; one that does not is, in words that say why."""

import numpy as np
import pytest
import torch
from clips import picture

from patchvsr.errors import UnfaithfulError
from patchvsr.pixels.compare import (
    DECODED,
    ENCODED,
    MATCHED,
    check,
    check_decoded,
    find_fault,
    grid_of,
    size_of,
    thumbnail,
)
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

WIDTH, HEIGHT, SCALE = 160, 96, 4


def scene(seed=0, height=HEIGHT, width=WIDTH, dtype=np.uint8):
    """(height, width, 3): coloured rectangles over a gradient, with some grain; unlike itself in every direction."""
    chance = np.random.default_rng(seed)
    rgb = picture(seed, width, height).astype(np.float64) / 255 * 0.4 + 0.2
    for _ in range(25):
        y, x = chance.integers(0, max(1, height - 8)), chance.integers(0, max(1, width - 8))
        rgb[y : y + chance.integers(6, 40), x : x + chance.integers(6, 60)] = chance.random(3) * (0.4, 0.7, 1.0)
    rgb += chance.normal(0, 0.02, rgb.shape)
    return (rgb.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def larger(rgb, size=None):
    """Bicubic, at x4 unless a size is given."""
    peak = np.iinfo(rgb.dtype).max
    frames = torch.from_numpy(rgb.astype(np.float32) / peak).permute(2, 0, 1)[None]
    size = size or Size(rgb.shape[1] * SCALE, rgb.shape[0] * SCALE)
    return resize_bicubic(frames, size)[0].permute(1, 2, 0).mul(peak).round().numpy().astype(rgb.dtype)


def fault(given, made, limits=MATCHED):
    grid = grid_of(size_of(given), size_of(made))
    return find_fault(thumbnail(given, grid), thumbnail(made, grid), limits, size_of(made))


FAULTS = {
    "black": (lambda hq: np.zeros_like(hq), "is black where it should not be"),
    "flat": (lambda hq: np.full_like(hq, 90), "is a flat colour"),
    "BGR": (lambda hq: hq[..., ::-1], "has its channels in the order BGR"),
    "flipped": (lambda hq: hq[::-1], "is upside down"),
    "mirrored": (lambda hq: hq[:, ::-1], "is mirrored"),
    "shifted by 4": (lambda hq: np.roll(hq, 4, 1), "is shifted by about [345] pixels right and 0"),
    "shifted by 8": (lambda hq: np.roll(hq, -8, 0), "is shifted by about 0 pixels [a-z]+ and [6-9] up"),
    "tinted": (lambda hq: (hq * (1.1, 1, 1)).clip(0, 255).astype(np.uint8), r"has another tint \(red \+\d"),
    "darker": (lambda hq: (hq * 0.9).astype(np.uint8), r"has another tint \(red -\d"),
    "another": (lambda hq: larger(scene(7)), "shows something else"),
    "tile": (
        lambda hq: np.where((np.indices(hq.shape)[:2] > 300).all(0), 0, hq),
        r"is wrong in a part, around [67]\d % of its width and 8\d % of its height",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found_and_named(name):
    spoil, said = FAULTS[name]
    given = scene()
    made = spoil(larger(given))
    with pytest.raises(UnfaithfulError, match=said) as caught:
        check(given, made, MATCHED, "colour matching", 3)
    assert (caught.value.stage, caught.value.frame) == ("colour matching", 3)
    assert fault(given, larger(given)) is None


@pytest.mark.parametrize(
    "given",
    [
        scene(),
        scene(dtype=np.uint16),
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        np.full((HEIGHT, WIDTH, 3), 255, np.uint8),
        np.full((HEIGHT, WIDTH, 3), (90, 20, 200), np.uint8),
        (scene() * 0.02).astype(np.uint8),
        scene()[:, :, :1].repeat(3, axis=2),
        scene(height=9, width=7),
        scene(height=1, width=16),
        scene(height=480, width=854),
    ],
    ids=["ordinary", "16 bits", "black", "white", "flat", "fading", "grey", "tiny", "a line", "large"],
)
def test_no_alarm_for_a_larger_version_with_noise_and_rounding(given):
    noise = np.random.default_rng(1).normal(0, 4 / 255 * np.iinfo(given.dtype).max, larger(given).shape)
    made = (larger(given) + noise).clip(0, np.iinfo(given.dtype).max).astype(given.dtype)
    bright, dark = given.mean() > 0.99 * np.iinfo(given.dtype).max, given.mean() < 2  # noise is clipped on one side
    assert fault(given, larger(given) if bright or dark else made) is None
    assert fault(given, given) is None
    assert fault(larger(given), larger(given), ENCODED) is None


def test_sides_that_are_no_multiple_and_an_output_that_is_smaller():
    given = scene(height=211, width=333)
    for size in (Size(333 * 2 + 1, 211 * 2), Size(1920, 1216), Size(167, 106), Size(40, 25)):
        assert fault(given, larger(given, size)) is None
        assert fault(given, larger(given, size)[::-1]) == "is upside down"


def test_a_black_picture_made_of_a_flat_one():
    assert "is black" in fault(np.full((20, 20, 3), 60, np.uint8), np.zeros((40, 40, 3), np.uint8))
    assert "another tint" in fault(np.full((20, 20, 3), 60, np.uint8), np.full((40, 40, 3), 70, np.uint8))


def test_what_the_decoder_gives_is_checked_before_colours_are_matched():
    canvas = torch.from_numpy(np.stack([larger(scene(seed)) for seed in range(3)])).permute(3, 0, 1, 2) / 127.5 - 1
    size = Size(WIDTH, HEIGHT)
    check_decoded((canvas + 0.08).clamp(-1, 1), canvas, size, 8)  # a tint that matching removes
    for spoiled in (torch.full_like(canvas[:, 2], -1), canvas[:, 2].flip(0), canvas[:, 2].roll(8, -1)):
        video = canvas.clone()
        video[:, 2] = spoiled
        with pytest.raises(UnfaithfulError, match="frame 10 is wrong after decoding"):
            check_decoded(video, canvas, size, 8)


def test_limits_add_up():
    assert DECODED.plus(ENCODED).tint == DECODED.tint + ENCODED.tint
