"""Kernels by their formulas, and a blur that neither moves nor brightens."""

from __future__ import annotations

import math

import pytest
import torch
import toy

from patchvsr.degradation.blur import blur, elliptic_kernels, random_kernels, random_sinc_kernels, sinc_kernels
from patchvsr.degradation.draws import Draw


def one(value: float) -> torch.Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize("seed", range(30))
def test_kernels_are_symmetric_and_sum_to_one(seed: int) -> None:
    kernels = random_kernels(Draw(toy.seeded(seed), 4, 0.01), (0.2, 3.0), size=1.0, power=1.0)
    side = kernels.shape[-1]
    assert kernels.shape == (4, side, side) and side % 2 == 1 and 7 <= side <= 21
    torch.testing.assert_close(kernels.sum(dim=(1, 2)), torch.ones(4))
    torch.testing.assert_close(kernels, kernels.flip(1, 2))


def test_gaussian_profile_and_its_axis() -> None:
    kernel = elliptic_kernels(5, one(2.0), one(0.8), one(math.pi / 2), one(1.0), plateau=False)[0]
    # Turned by a quarter, the long axis is vertical.
    torch.testing.assert_close(kernel[6, 5] / kernel[5, 5], torch.tensor(-0.5 / 2.0**2).exp())
    torch.testing.assert_close(kernel[5, 6] / kernel[5, 5], torch.tensor(-0.5 / 0.8**2).exp())


def test_plateau_is_flatter_and_generalised_follows_beta() -> None:
    sigma = one(1.5)
    plateau = elliptic_kernels(4, sigma, sigma, one(0.0), one(2.0), plateau=True)[0]
    torch.testing.assert_close(plateau[4, 6] / plateau[4, 4], torch.tensor(1 / (1 + (4 / 2.25) ** 2)))
    pointed = elliptic_kernels(4, sigma, sigma, one(0.0), one(0.5), plateau=False)[0]
    torch.testing.assert_close(pointed[4, 6] / pointed[4, 4], torch.tensor(-0.5 * 2 / 1.5).exp())


def test_sinc_passes_below_its_cutoff_and_stops_above() -> None:
    kernel = sinc_kernels(10, one(math.pi / 2))[0]
    x = torch.arange(-10.0, 11.0)
    gains = [(kernel * torch.cos(frequency * x)).sum().item() for frequency in (0.2 * math.pi, 0.8 * math.pi)]
    assert abs(gains[0] - 1) < 0.1 and abs(gains[1]) < 0.1
    assert kernel.min() < 0  # it rings


def test_dial_at_zero_leaves_a_point() -> None:
    for seed in range(20):
        kernels = random_kernels(Draw(toy.seeded(seed), 1, 0.01), (1e-3, 1e-3), size=1.0, power=0.0)
        assert kernels[0, kernels.shape[1] // 2, kernels.shape[1] // 2] > 0.7
    assert random_sinc_kernels(Draw(toy.seeded(), 1, 0.0), size=0.1).shape == (1, 3, 3)


def test_blur_uses_a_kernel_for_each_frame_and_repeats_the_border() -> None:
    clip = torch.zeros(2, 3, 9, 9)
    clip[..., 4, 4] = 1
    sigma = torch.tensor([0.6, 1.5])
    kernels = elliptic_kernels(3, sigma, sigma, torch.zeros(2), torch.ones(2), plateau=False)
    blurred = blur(clip, kernels)
    for frame in range(2):
        torch.testing.assert_close(blurred[frame, :, 1:8, 1:8], kernels[frame].expand(3, -1, -1))
    flat = torch.full((2, 3, 5, 2), 0.3)  # smaller than the kernel
    torch.testing.assert_close(blur(flat, kernels), flat)


def test_walks_stay_in_their_range_and_move_in_small_steps() -> None:
    draw = Draw(toy.seeded(), 400, 0.05)
    walk = draw.walk(2.0, 4.0)
    assert walk.min() >= 2 and walk.max() <= 4 and walk.std() > 0.05
    assert (walk[1:] - walk[:-1]).abs().max() <= 0.1 + 1e-6


def test_choice_follows_its_weights() -> None:
    draw = Draw(toy.seeded(), 1, 0.0)
    picks = [draw.choice({"rare": 0.1, "common": 0.9, "never": 0.0}) for _ in range(500)]
    assert 25 <= picks.count("rare") <= 80 and "never" not in picks
