"""Batches and targets: training tells the model what upscaling will tell it."""

from __future__ import annotations

import pytest
import torch
import toy

from patchvsr.patches.grid import Box
from patchvsr.sampling.conditions import ClipConditions, resize_bicubic
from patchvsr.training.clips import ClipSource
from patchvsr.training.degradation import degrade, draw_scale
from patchvsr.training.objectives import (
    AdapterStage,
    charbonnier,
    draw_sigma,
    patch_batch,
    patch_conditions,
    spectral,
)
from patchvsr.training.recipes import Recipe

SIDE = 2 * toy.PATCH_PX
RECIPE = Recipe(
    stage="adapter", name="toy", batch_size=1, num_frames=5, size=toy.PATCH_PX, canvas_size=SIDE
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_patches_are_what_the_pipeline_cuts(source: ClipSource, seed: int) -> None:
    codec, generator = toy.codec(), toy.seeded(seed)
    clip = source.window(generator, 5, SIDE, SIDE)  # the first draws of the batch below
    scale = draw_scale(generator, RECIPE.degradation)
    canvas = resize_bicubic(degrade(clip, scale, generator, RECIPE.degradation), (SIDE, SIDE))
    batch = patch_batch(source, toy.seeded(seed), RECIPE)

    y0, x0, y1, x1 = (int(side * SIDE) for side in batch["box"][0])
    assert (y1 - y0, x1 - x0) == (toy.PATCH_PX, toy.PATCH_PX) and y0 % 32 == x0 % 32 == 0  # whole tokens
    for name, whole in (("hq", clip), ("canvas", canvas)):
        assert torch.equal(batch[name][0], (whole * 2 - 1).transpose(0, 1)[..., y0:y1, x0:x1])

    with torch.no_grad():
        condition = codec.encode_condition((canvas * 2 - 1).transpose(0, 1).unsqueeze(0))[0]
        trained = patch_conditions(codec, batch, RECIPE, toy.seeded())
        view = codec.encode_condition(batch["global"])[0]
    upscaling = ClipConditions(condition, view, torch.zeros_like(condition), 0.0, scale)
    expected = upscaling.of_patches([Box(0, 2, y0 // 16, y1 // 16, x0 // 16, x1 // 16)])
    for name in ("location_mask", "crop_box", "scale", "global_latents"):
        assert torch.equal(getattr(trained, name), getattr(expected, name)), name


def test_noise_augmentation_is_told_and_half_of_the_patches_have_none() -> None:
    codec, count = toy.codec(), 64
    pixels = torch.zeros(count, 3, 1, 32, 32)
    batch = {"canvas": pixels, "global": pixels, "mask": pixels, "scale": pixels, "box": pixels}
    with torch.no_grad():
        clean = codec.encode_condition(pixels)
        conditions = patch_conditions(codec, batch, RECIPE, toy.seeded())
    sigma = conditions.noise_timestep / 1000
    assert sigma.min() >= 0 and sigma.max() <= 0.3 and 20 < (sigma == 0).sum() < 44
    noise = conditions.patch_latents - (1 - sigma).view(-1, 1, 1, 1, 1) * clean
    torch.testing.assert_close(noise.flatten(1).std(dim=1), sigma, rtol=0.1, atol=1e-6)


def test_velocity_leads_from_the_noise_to_the_latents(source: ClipSource) -> None:
    stage = AdapterStage(RECIPE, toy.codec(), toy.transformer())
    batch, sigma = stage.batch(source, toy.seeded()), torch.full((1, 1, 1, 1, 1), 0.7)
    noisy, velocity, target = stage._predict(batch, sigma, toy.seeded())
    latents = stage.codec.encode(batch["hq"])
    torch.testing.assert_close(noisy - sigma * target, latents)
    torch.testing.assert_close((noisy + 0.3 * target).std(), torch.tensor(1.0), rtol=0.2, atol=0)
    assert velocity.shape == target.shape


def test_a_third_of_the_noise_levels_is_pure_noise() -> None:
    sigma = draw_sigma(3000, toy.seeded())
    assert sigma.shape == (3000, 1, 1, 1, 1) and sigma.min() >= 0 and sigma.max() == 1
    assert 0.30 < (sigma == 1).float().mean() < 0.37
    assert 0.47 < sigma[sigma < 1].mean() < 0.53


def test_losses_are_small_for_equal_clips_and_see_what_they_should() -> None:
    clip = toy.video(5, 16, 16).transpose(0, 1).unsqueeze(0)
    assert charbonnier(clip, clip) == pytest.approx(1e-3) and spectral(clip, clip) == 0
    assert charbonnier(clip + 0.5, clip) == pytest.approx(0.5, rel=1e-3)
    flat = spectral(clip + 0.1, clip)  # one coefficient
    noise = spectral(clip + 0.1 * toy.randn(*clip.shape), clip)  # all of them
    assert noise > 5 * flat
