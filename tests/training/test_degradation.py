"""What degradation does to a clip, and that it does the same to all of its frames."""

from __future__ import annotations

import pytest
import torch
import toy

from patchvsr.sampling.conditions import resize_bicubic
from patchvsr.training.degradation import Degradation, degrade, gaussian_blur

DIRTY = Degradation(clean_share=0.0)


def test_is_a_function_of_the_generator() -> None:
    clip = toy.video(5, 48, 64)
    before = clip.clone()
    (first, scale), (again, _), (other, _) = (degrade(clip, toy.seeded(seed), DIRTY) for seed in (1, 1, 2))
    assert first.shape == clip.shape and scale in DIRTY.scales
    assert first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(clip, before)


@pytest.mark.parametrize("scale", [2.0, 3.0, 4.0])
def test_clean_clips_are_bicubic_in_eight_bits(scale: float) -> None:
    clip = toy.video(3, 48, 64)
    canvas, drawn = degrade(clip, toy.seeded(), Degradation(scales=(scale,), clean_share=1.0))
    lq = resize_bicubic(clip, (round(48 / scale), round(64 / scale)))
    assert drawn == scale
    assert torch.equal(canvas, resize_bicubic((lq * 255).round() / 255, (48, 64)))


def test_nothing_drifts_within_a_clip() -> None:
    """The same frame five times comes out as the same frame five times, noise aside."""
    still = toy.video(1, 48, 64).expand(5, -1, -1, -1)
    settings = Degradation(clean_share=0.0, max_noise_sigma=0.0)
    canvases = [degrade(still, toy.seeded(seed), settings)[0] for seed in range(12)]
    assert all(torch.equal(canvas, canvas[:1].expand_as(canvas)) for canvas in canvases)
    assert len({canvas.sum().item() for canvas in canvases}) > 6  # but clips differ


def test_noise_differs_between_frames_and_stays_in_its_range() -> None:
    grey = torch.full((5, 3, 48, 64), 0.5)
    spread = []
    for seed in range(12):
        canvas, _ = degrade(grey, toy.seeded(seed), Degradation(clean_share=0.0, scales=(2.0,)))
        spread.append((canvas - 0.5).std().item() * 255)
        assert spread[-1] < 0.6 or not torch.allclose(canvas[0], canvas[1], atol=1 / 255)
    assert max(spread) > 1 and max(spread) < 6 and min(spread) < 0.6


def test_blur_keeps_the_mean_and_is_symmetric() -> None:
    point = torch.zeros(1, 3, 9, 9)
    point[..., 4, 4] = 1
    blurred = gaussian_blur(point, 0.8)
    torch.testing.assert_close(blurred.sum(dim=(2, 3)), torch.ones(1, 3))
    assert torch.allclose(blurred, blurred.flip(-1)) and torch.allclose(blurred, blurred.transpose(-1, -2))
    assert blurred[0, 0, 4, 4] > blurred[0, 0, 4, 5] > blurred[0, 0, 4, 6] > 0
    torch.testing.assert_close(blurred[0, 0, 4, 5] / blurred[0, 0, 4, 4], torch.tensor(-0.5 / 0.64).exp())
