"""What degradation does to a clip: the size, the range, the reproducibility, and that nothing moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.degradation.degrade import (
    BICUBIC,
    PRESETS,
    REALBASICVSR,
    Degradation,
    degrade,
    draw_scale,
    draw_strength,
)
from patchvsr.errors import SettingsError
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size


def scene(num_frames: int = 3, height: int = 96, width: int = 128, *, step: float = 1.0) -> Tensor:
    """Soft waves of several sizes and colours that move `step` pixels a frame, (F, 3, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = []
    for index in range(num_frames):
        moved = x + step * index
        waves = [(moved / 5).sin() * (y / 7).cos(), ((moved + y) / 9).sin(), ((moved - 2 * y) / 13).cos()]
        frames.append(0.5 + 0.35 * torch.stack([waves[0], (waves[0] + waves[1]) / 2, (waves[0] + waves[2]) / 2]))
    return torch.stack(frames)


def psnr(lq: Tensor, reference: Tensor) -> float:
    return -10 * (lq - reference).square().mean().log10().item()


def test_is_a_function_of_the_generator() -> None:
    clip = scene()
    before = clip.clone()
    first, again, other = (degrade(clip, 4, toy.seeded(seed), REALBASICVSR) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(clip, before)


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "hevc"])
def test_every_codec_gives_the_same_bytes_again(codec: str) -> None:
    settings, clip = replace(REALBASICVSR, codecs=codec), scene(5)
    first, again = (degrade(clip, 3, toy.seeded(4), settings) for _ in range(2))
    assert torch.equal(first, again)


def test_golden_values() -> None:
    """One draw that goes through every kind of step; encoders of other versions may differ by a few levels."""
    lq = degrade(scene(), 4, toy.seeded(5), REALBASICVSR)
    red = [[166, 169, 96, 101], [129, 143, 124, 121], [89, 75, 161, 178]]
    green = [[174, 130, 96, 137], [85, 158, 135, 74], [150, 71, 135, 192]]
    blue = [[171, 131, 120, 84], [134, 127, 134, 89], [79, 111, 139, 179]]
    difference = lq[1, :, ::8, ::10] * 255 - torch.tensor([red, green, blue])
    assert difference.abs().mean() < 3  # other draws are 8 and more away


@pytest.mark.parametrize("scale", [1.0, 1.37, 2.0, 2.5, 4.0, 5.3, 8.0])
def test_size_and_levels_at_every_scale(scale: float) -> None:
    clip = scene(2, 67, 91)
    for settings in (BICUBIC, REALBASICVSR):
        lq = degrade(clip, scale, toy.seeded(), settings)
        assert lq.shape == (2, 3, round(67 / scale), round(91 / scale)) and lq.dtype == torch.float32
        assert lq.min() >= 0 and lq.max() <= 1
        torch.testing.assert_close(lq * 255, (lq * 255).round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 48, 48), (2, 5, 3), (1, 1, 1), (7, 31, 200)])
def test_single_frames_and_tiny_sizes(shape: tuple[int, int, int]) -> None:
    frames, height, width = shape
    for seed in range(4):
        lq = degrade(scene(*shape), 4, toy.seeded(seed), REALBASICVSR)
        assert lq.shape == (frames, 3, max(1, round(height / 4)), max(1, round(width / 4)))
        assert lq.isfinite().all()


def test_clean_clips_are_reduced_and_nothing_else() -> None:
    clip = scene()
    bicubic = (resize_bicubic(clip, Size(32, 24)) * 255).round() / 255
    bilinear = torch.nn.functional.interpolate(clip, size=(24, 32), mode="bilinear", antialias=True)
    for settings in (BICUBIC, replace(REALBASICVSR, strength=0.0)):
        assert torch.equal(degrade(clip, 4, toy.seeded(), settings), bicubic)
    paper = degrade(clip, 4, toy.seeded(), Degradation(clean_share=1.0, bilinear_share=1.0))
    assert torch.equal(paper, (bilinear * 255).round() / 255)
    assert torch.equal(degrade(clip, 1, toy.seeded(), BICUBIC), (clip * 255).round() / 255)


def test_clean_share_is_a_share() -> None:
    clip = scene(1, 16, 16)
    clean = degrade(clip, 4, toy.seeded(), BICUBIC)
    settings = Degradation(clean_share=0.25, bilinear_share=0.0)
    same = [torch.equal(degrade(clip, 4, toy.seeded(seed), settings), clean) for seed in range(80)]
    assert 10 <= sum(same) <= 30


def test_strength_is_a_dial() -> None:
    clip = scene(3)
    clean = degrade(clip, 4, toy.seeded(), BICUBIC)
    means = []
    for strength in (0.1, 0.4, 1.0, 1.6):
        settings = replace(REALBASICVSR, strength=strength)
        means.append(sum(psnr(degrade(clip, 4, toy.seeded(seed), settings), clean) for seed in range(10)) / 10)
    assert means == sorted(means, reverse=True) and means[0] - means[2] > 8


def test_small_scales_are_not_destroyed() -> None:
    """What is left of a clip at scale 1 and 2 is at least what is left at 4."""
    clip = scene(3)
    means = []
    for scale in (1, 2, 4):
        clean = degrade(clip, scale, toy.seeded(), BICUBIC)
        lq = [degrade(clip, scale, toy.seeded(seed), REALBASICVSR) for seed in range(10)]
        means.append(sum(psnr(one, clean) for one in lq) / 10)
    assert means == sorted(means, reverse=True) and means[0] > 26


def shift(lq: Tensor, reference: Tensor) -> tuple[float, float]:
    """(x, y) in pixels by which `lq` is displaced, to first order. What is symmetric, as blur, has no part in it."""
    dx = (reference[..., 1:-1, 2:] - reference[..., 1:-1, :-2]) / 2
    dy = (reference[..., 2:, 1:-1] - reference[..., :-2, 1:-1]) / 2
    difference = (reference - lq)[..., 1:-1, 1:-1]
    system = torch.stack([dx.flatten(), dy.flatten()], dim=1)
    x, y = torch.linalg.lstsq(system, difference.reshape(-1, 1)).solution.flatten().tolist()
    return x, y


@pytest.mark.parametrize("scale", [1.5, 2.0, 4.0, 6.0])
def test_nothing_moves(scale: float) -> None:
    clip = scene(3, 144, 192, step=0)
    reference = degrade(clip, scale, toy.seeded(), BICUBIC)
    shifts = torch.tensor([shift(degrade(clip, scale, toy.seeded(s), REALBASICVSR), reference) for s in range(12)])
    assert shifts.mean(dim=0).abs().max() < 0.05, shifts
    moved = resize_bicubic(clip.roll(1, dims=-1), Size.of(reference))
    assert abs(shift(moved, reference)[0] - 1 / scale) < 0.15  # the measure sees a pixel of the original


def test_parameters_drift_slowly() -> None:
    """A still clip stays almost still: what changes from frame to frame is far less than from clip to clip."""
    still = scene(1).expand(9, -1, -1, -1)
    settings = replace(REALBASICVSR, noise_sigma=2.0, codecs="h264")
    clips = [degrade(still, 4, toy.seeded(seed), settings) for seed in range(8)]
    within = sum((clip[1:] - clip[:-1]).abs().mean().item() for clip in clips) / len(clips)
    firsts = torch.stack([clip[0] for clip in clips])
    between = (firsts - firsts.roll(1, 0)).abs().mean().item()
    assert 0 < within < between / 3


def test_strengths_of_training_clips() -> None:
    settings, generator = Degradation(clean_share=0.4, full_share=0.5, strength=0.8), toy.seeded()
    drawn = torch.tensor([draw_strength(generator, settings) for _ in range(2000)])
    assert 0.36 < (drawn == 0).float().mean() < 0.44
    assert 0.26 < (drawn == 0.8).float().mean() < 0.34
    between = drawn[(drawn > 0) & (drawn < 0.8)]
    assert torch.histc(between, bins=4, min=0, max=0.8).min() / len(between) > 0.2


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_a_drawn_strength_is_what_is_done(strength: float) -> None:
    """Whatever shares the settings have, `at` leaves nothing to chance."""
    clip, drawn = scene(3), Degradation(clean_share=0.5, full_share=0.5).at(strength)
    expected = BICUBIC if strength == 0 else replace(REALBASICVSR, strength=strength)
    for seed in range(3):
        assert torch.equal(degrade(clip, 4, toy.seeded(seed), drawn), degrade(clip, 4, toy.seeded(seed), expected))


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "hevc"])
def test_next_to_no_strength_does_next_to_nothing(codec: str) -> None:
    """Encoders refuse the bit rates that it would ask for."""
    clip, settings = scene(3), Degradation(codecs=codec).at(1e-9)
    clean = degrade(clip, 4, toy.seeded(), BICUBIC)
    assert psnr(degrade(clip, 4, toy.seeded(), settings), clean) > 30


def test_scales_are_four_half_of_the_time() -> None:
    generator, settings = toy.seeded(), Degradation(four_share=0.5)
    scales = torch.tensor([draw_scale(generator, settings) for _ in range(2000)])
    assert scales.min() >= 1 and scales.max() <= 8
    assert 0.45 < (scales == 4).float().mean() < 0.55
    octaves = torch.histc(scales[scales != 4].log2(), bins=3, min=0, max=3) / (scales != 4).sum()
    assert octaves.min() > 0.28
    assert (scales[scales != 4] != scales[scales != 4].round()).all()


def test_presets() -> None:
    assert list(PRESETS) == ["bicubic", "light", "medium", "realbasicvsr"]
    assert BICUBIC.is_bicubic and replace(REALBASICVSR, strength=0.0).is_bicubic
    assert not REALBASICVSR.is_bicubic and not replace(BICUBIC, bilinear_share=0.5).is_bicubic


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clean_share": 1.5}, "clean_share is 1.5"),
        ({"drift": -1.0}, "drift is -1.0"),
        ({"strength": -0.1}, "strength -0.1"),
        ({"jpeg_quality": 0}, "jpeg_quality 0"),
        ({"noise_sigma": 0.0}, "noise_sigma 0.0"),
        ({"codecs": "h264,h266"}, "'h266' is not known"),
    ],
)
def test_refuses_settings_that_make_no_sense(values: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Degradation(**values)


def test_refuses_to_enlarge() -> None:
    with pytest.raises(SettingsError, match=r"scale is 0\.5"):
        degrade(scene(), 0.5, toy.seeded(), BICUBIC)
