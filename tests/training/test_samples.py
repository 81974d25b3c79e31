"""Samples and targets: training tells the model what upscaling will tell it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import toy

from patchvsr.degradation.degrade import Degradation
from patchvsr.patches.grid import Box
from patchvsr.sampling.conditions import ClipConditions
from patchvsr.training.clips import ClipSource
from patchvsr.training.distillation import DistillStage
from patchvsr.training.losses import charbonnier, spectral
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import (
    FrameSample,
    PatchSample,
    Places,
    Sample,
    Samples,
    draw_canvas_size,
    draw_noise_timestep,
    draw_sigma,
    make_canvas,
)
from patchvsr.training.stages import AdapterStage

RECIPE = Recipe(
    stage="adapter", name="toy_adapter", batch_size=2, num_frames=5, sizes=str(toy.PATCH_PX),
    canvas_min=toy.PATCH_PX, canvas_max=2 * toy.PATCH_PX, degradation=Degradation(clean_share=1.0),
    decode_size=32, decode_frames=1,
)  # fmt: skip


def batch(*samples: Sample) -> Sample:
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


@pytest.mark.parametrize("seed", range(4))
def test_patches_are_what_the_pipeline_cuts(source: ClipSource, seed: int) -> None:
    autoencoder, generator = toy.autoencoder(), toy.seeded(seed)
    height, width = draw_canvas_size(generator, RECIPE)  # the first draws of the sample below
    clip = source.window(generator, 5, height, width)
    canvas, known = make_canvas(clip, generator, RECIPE)
    make, generator = PatchSample(RECIPE, autoencoder.geometry), toy.seeded(seed)
    sample = make.part(make.whole(source, generator, toy.PATCH_PX), generator, toy.PATCH_PX)

    y0, x0, y1, x1 = (round(float(edge) * side) for edge, side in zip(sample["box"], (height, width) * 2, strict=True))
    assert (y1 - y0, x1 - x0) == (toy.PATCH_PX, toy.PATCH_PX) and y0 % 32 == x0 % 32 == 0  # whole tokens
    for name, whole in (("hq", clip), ("canvas", canvas)):
        expected = (whole * 2 - 1).transpose(0, 1)[..., y0:y1, x0:x1]
        torch.testing.assert_close(sample[name].float(), expected, atol=1 / 2048, rtol=0)

    stage = AdapterStage(RECIPE, autoencoder, toy.transformer())
    noise = stage.make_sample.noise(toy.seeded(), (2, 8, 8)) | {"noise_timestep": torch.zeros(())}
    trained = stage.conditions(stage.with_latents(batch(sample | noise)))
    with torch.no_grad():
        condition = autoencoder.encode_condition((canvas * 2 - 1).transpose(0, 1).unsqueeze(0))[0]
        view = autoencoder.encode_condition(sample["global"].unsqueeze(0).float())[0]
    upscaling = ClipConditions(condition, view, torch.zeros_like(condition), 0.0, float(known["scale"]))
    expected = upscaling.of_patches([Box(0, 2, y0 // 8, y1 // 8, x0 // 8, x1 // 8)])
    for name in ("location_mask", "crop_box", "scale", "global_latents"):
        torch.testing.assert_close(getattr(trained, name), getattr(expected, name), msg=name)


def test_frames_of_a_clip_can_share_their_noise() -> None:
    geometry, cells = toy.autoencoder().geometry, (2, 4, 4)
    for make in (PatchSample, FrameSample):
        still = make(replace(RECIPE, still_noise=True), geometry).noise(toy.seeded(), cells)["noise"]
        assert still.shape == (toy.LATENT_CHANNELS, *cells) and torch.equal(still[:, 0], still[:, 1])
        apart = make(RECIPE, geometry).noise(toy.seeded(), cells)["noise"]
        assert not torch.equal(apart[:, 0], apart[:, 1])


def test_noise_augmentation_is_told() -> None:
    stage = AdapterStage(RECIPE, toy.autoencoder(), toy.transformer())
    pixels = torch.zeros(1, 3, 1, 32, 32)
    plain = {name: pixels for name in ("canvas", "global", "hq", "mask", "box")}
    plain |= {"restoration": torch.tensor([0.3]), "scale": torch.tensor([4.0])}
    noise = stage.make_sample.noise(toy.seeded(), (1, 4, 4)) | {"noise_timestep": torch.tensor(250.0)}
    told = plain | batch(noise)
    conditions = stage.conditions(stage.with_latents(told))
    with torch.no_grad():
        clean = stage.autoencoder.encode_condition(pixels)
    torch.testing.assert_close(conditions.patch_latents, 0.75 * clean + 0.25 * told["condition_noise"])
    assert conditions.noise_timestep.item() == 250


def test_draws_have_the_shares_they_should() -> None:
    generator = toy.seeded()
    sigma = torch.stack([draw_sigma(generator) for _ in range(3000)])
    assert sigma.min() >= 0 and sigma.max() == 1 and 0.30 < (sigma == 1).float().mean() < 0.37
    level = torch.stack([draw_noise_timestep(generator, RECIPE) for _ in range(3000)])
    assert level.max() <= 300 and 0.46 < (level == 0).float().mean() < 0.54
    paper = replace(RECIPE, min_noise_timestep=200.0, clean_condition_share=0.0)
    level = torch.stack([draw_noise_timestep(generator, paper) for _ in range(300)])
    assert level.min() >= 200 and level.max() <= 300
    sizes = {draw_canvas_size(generator, RECIPE) for _ in range(100)}
    assert len(sizes) == 9 and all(64 <= side <= 128 and side % 32 == 0 for size in sizes for side in size)


def test_a_sample_belongs_to_its_place(source: ClipSource) -> None:
    samples = Samples(PatchSample(RECIPE, toy.autoencoder().geometry), source, RECIPE)
    one, again, neighbour, later = (samples[place] for place in ((3, 1), (3, 1), (3, 0), (4, 1)))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["noise"], neighbour["noise"]) and not torch.equal(one["noise"], later["noise"])


def test_sizes_mix_from_step_to_step_and_not_within(source: ClipSource) -> None:
    mixed = replace(RECIPE, sizes="32,64")
    samples = Samples(PatchSample(mixed, toy.autoencoder().geometry), source, mixed)
    sides = [{samples[step, number]["hq"].shape[-1] for number in range(2)} for step in range(8)]
    assert all(len(step) == 1 for step in sides) and {side for step in sides for side in step} == {32, 64}


def test_devices_and_parts_share_a_step_without_overlap() -> None:
    recipe = replace(RECIPE, steps=5, accumulate=3)
    per_rank = [list(Places(recipe, 3, rank, 2)) for rank in (0, 1)]
    assert [len(places) for places in per_rank] == [6, 6] and len(Places(recipe, 3, 0, 2)) == 6
    for step in (3, 4):
        numbers = [n for places in per_rank for one in places for s, n in one if s == step]
        assert sorted(numbers) == list(range(2 * 3 * 2))


def test_patches_of_a_group_share_a_canvas(source: ClipSource) -> None:
    recipe = replace(RECIPE, patches_per_canvas=2)
    make = PatchSample(recipe, toy.autoencoder().geometry)
    samples = [[Samples(make, source, recipe)[step, number] for number in range(4)] for step in range(8)]
    for one, two, three, four in samples:
        assert torch.equal(one["global"], two["global"]) and torch.equal(three["global"], four["global"])
        assert not torch.equal(one["global"], three["global"])
    assert any(not torch.equal(one["box"], two["box"]) for one, two, *_ in samples)
    in_order = Samples(make, source, recipe)  # which draws a canvas once
    for number, drawn_alone in enumerate(samples[3]):
        assert all(torch.equal(value, drawn_alone[name]) for name, value in in_order[3, number].items())


def test_decoded_crops_are_the_same_part_of_latents_and_pixels(source: ClipSource) -> None:
    recipe = replace(RECIPE, stage="distill", name="toy_distill")
    stage = DistillStage(recipe, toy.autoencoder(), toy.transformer())
    samples = Samples(stage.make_sample, source, recipe)
    told = batch(samples[0, 0], samples[0, 1])
    cells = torch.arange(2 * 8 * 8).view(1, 1, 2, 8, 8).expand(2, 1, 2, 8, 8)
    told["hq"] = cells.repeat_interleave(8, -1).repeat_interleave(8, -2)[:, :, [0, 1, 1, 1, 1]]
    told["canvas"] = told["hq"]
    for number in range(3):
        latents, canvas, hq = stage._crop(cells, told, told["crops"][:, number].tolist())
        assert latents.shape == (2, 1, 1, 4, 4) and hq.shape == (2, 1, 1, 32, 32)
        assert torch.equal(hq[..., ::8, ::8], latents.float()) and torch.equal(canvas, hq)


def test_losses_are_small_for_equal_clips_and_see_what_they_should() -> None:
    clip = toy.video(5, 16, 16).transpose(0, 1).unsqueeze(0)
    assert charbonnier(clip, clip) == pytest.approx(1e-3) and spectral(clip, clip) == 0
    assert charbonnier(clip + 0.5, clip) == pytest.approx(0.5, rel=1e-3)
    flat = spectral(clip + 0.1, clip)  # one coefficient
    noise = spectral(clip + 0.1 * toy.randn(*clip.shape), clip)  # all of them
    assert noise > 5 * flat


@pytest.mark.parametrize("width", [12, 13])
def test_spectral_loss_has_the_gradient_of_autograd(width):
    target = toy.randn(2, 3, 2, 6, width)
    mine, reference = (toy.randn(2, 3, 2, 6, width, seed=1).requires_grad_() for _ in range(2))
    spectral(mine, target).backward()
    torch.fft.rfft2(reference - target, norm="ortho").abs().mean().backward()
    torch.testing.assert_close(mine.grad, reference.grad)
