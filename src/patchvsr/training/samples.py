"""Training samples. All randomness of a sample is drawn here, seeded by its position in the run.

Losses are therefore deterministic in the batch, and a run gives the same weights for any number of workers, devices
and interruptions. Samples are made in worker processes, so they hold the geometry of the model, not the model.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from patchvsr.degradation.degrade import LIGHT, degrade, draw_scale, draw_strength
from patchvsr.degradation.draws import below, chance
from patchvsr.models.geometry import Geometry
from patchvsr.patches.canvas import crop_box_condition, location_mask
from patchvsr.patches.grid import Box
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.training.clips import ClipSource
from patchvsr.training.recipes import Recipe

Sample = dict[str, Tensor]
Cells = tuple[int, int, int]  # (T, h, w) of latents
# Noise levels of 1 to 4 denoising steps; sigma 1, where sampling starts, is drawn twice as often.
FEW_STEP_SIGMAS = (1.0, 1.0, 0.75, 0.5, 0.25)
DECODED_CROPS = 3
LOOK_PX = 8  # stride of the features that networks look at decoded crops with
SINGLE_PASS = replace(LIGHT, codecs="h264,h264,hevc")
TOKEN_PX = 32  # of Wan2.2; a multiple of Wan2.1's and the bundled model's


class MakeSample(Protocol):
    """Draw one kind of sample: its content, which a cache can store encoded, and noise that is new at every use."""

    @property
    def geometry(self) -> Geometry: ...

    def whole(self, source: ClipSource, generator: Generator, side: int) -> Sample:
        """Draw the pixels that samples can share, (3, F, H, W) in [-1, 1], and what is known of them."""
        ...

    def part(self, whole: Sample, generator: Generator, side: int) -> Sample:
        """Draw the content of a sample from it, for patches of `side` pixels."""
        ...

    def noise(self, generator: Generator, cells: Cells) -> Sample:
        """Draw noise and noise levels for latents of `cells`."""
        ...


@dataclass(frozen=True)
class _ClipSample:
    """A clip and its canvas, of the size of a patch."""

    recipe: Recipe
    geometry: Geometry

    def whole(self, source: ClipSource, generator: Generator, side: int) -> Sample:
        clip = source.window(generator, self.recipe.num_frames, side, side)
        canvas, known = make_canvas(clip, generator, self.recipe)
        return {"hq": as_video(clip), "canvas": as_video(canvas), **known}

    def part(self, whole: Sample, generator: Generator, side: int) -> Sample:
        return whole


@dataclass(frozen=True)
class RestorerSample(_ClipSample):
    """A clip and its canvas, and whether the restorer is told how degraded it is."""

    def noise(self, generator: Generator, cells: Cells) -> Sample:
        return {"told": torch.tensor(chance(generator, self.recipe.told_share))}


@dataclass(frozen=True)
class LightDecoderSample(RestorerSample):
    """The same, with noise for the latents of the clip."""

    def noise(self, generator: Generator, cells: Cells) -> Sample:
        noise = torch.randn(self.geometry.latent_channels, *cells, generator=generator)
        return super().noise(generator, cells) | {"noise": noise}


@dataclass(frozen=True)
class AutoencoderSample(_ClipSample):
    """A clip and its canvas, and noise for the latents of the clip."""

    def noise(self, generator: Generator, cells: Cells) -> Sample:
        return {
            "noise": torch.randn(self.geometry.latent_channels, *cells, generator=generator),
            "shift": draw_shift(generator),
        }


@dataclass(frozen=True)
class FrameSample(_ClipSample):
    """Whole frames resized to the base's native size, and a noise level."""

    with_canvas: bool = False  # for an autoencoder that encodes what is missing from the restored input

    def whole(self, source: ClipSource, generator: Generator, side: int) -> Sample:
        clip = source.window(generator, self.recipe.num_frames, *draw_canvas_size(generator, self.recipe))
        clip = resize_bicubic(clip, Size(side, side))
        if not self.with_canvas:
            return {"hq": as_video(clip)}
        canvas, known = make_canvas(clip.clamp(0, 1), generator, self.recipe)
        return {"hq": as_video(clip), "canvas": as_video(canvas), **known}

    def noise(self, generator: Generator, cells: Cells) -> Sample:
        return {"noise": draw_noise(generator, self.recipe, self.geometry, cells), "sigma": draw_sigma(generator)}


@dataclass(frozen=True)
class PatchSample:
    """A patch cut from a canvas, with the global view, location mask, crop box and noise (paper, section 3.2)."""

    recipe: Recipe
    geometry: Geometry
    few_steps: bool = False  # draw the noise levels of few-step sampling, crops to decode, and where they are looked at

    def whole(self, source: ClipSource, generator: Generator, side: int) -> Sample:
        height, width = draw_canvas_size(generator, self.recipe)
        clip = source.window(generator, self.recipe.num_frames, height, width)
        canvas, known = make_canvas(clip, generator, self.recipe)
        view = as_video(resize_bicubic(canvas, Size(side, side)))
        return {"hq": as_video(clip), "canvas": as_video(canvas), "global": view, **known}

    def part(self, whole: Sample, generator: Generator, side: int) -> Sample:
        # 1. a patch, aligned to tokens
        height, width = whole["hq"].shape[-2:]
        top, left = (TOKEN_PX * below(generator, (length - side) // TOKEN_PX + 1) for length in (height, width))
        area = (..., slice(top, top + side), slice(left, left + side))

        # 2. its position, in latent cells
        cell = self.geometry.spatial_factor
        box = Box(0, 1, *(edge // cell for edge in (top, top + side, left, left + side)))
        canvas_hw = (height // cell, width // cell)
        return whole | {
            "hq": whole["hq"][area].contiguous(),
            "canvas": whole["canvas"][area].contiguous(),
            "mask": location_mask(box, canvas_hw, (side // cell, side // cell)),
            "box": torch.tensor(crop_box_condition(box, canvas_hw)),
        }

    def noise(self, generator: Generator, cells: Cells) -> Sample:
        noise = {
            "sigma": draw_few_step_sigma(generator) if self.few_steps else draw_sigma(generator),
            "noise": draw_noise(generator, self.recipe, self.geometry, cells),
            "noise_timestep": draw_noise_timestep(generator, self.recipe),
            "condition_noise": torch.randn(self.geometry.condition_channels, *cells, generator=generator),
        }
        if self.few_steps:
            noise["crops"] = self._draw_crops(generator, cells)
            noise["shift"] = draw_shift(generator)
            noise["second_sigma"] = torch.rand((), generator=generator)
            noise["second_noise"] = draw_noise(generator, self.recipe, self.geometry, cells)
        return noise

    def _draw_crops(self, generator: Generator, cells: Cells) -> Tensor:
        """Draw the origins (DECODED_CROPS, 3) of the decoded crops, in latent cells."""
        wanted = self.geometry.latent_shape(self.recipe.decode_frames, self.recipe.decode_size, self.recipe.decode_size)
        rooms = [max(0, whole - part) for whole, part in zip(cells, wanted, strict=True)]
        return torch.tensor([[below(generator, room + 1) for room in rooms] for _ in range(DECODED_CROPS)])


def make_canvas(clip: Tensor, generator: Generator, recipe: Recipe) -> tuple[Tensor, Sample]:
    """Degrade a clip (F, 3, H, W) and resize it back; also return its `scale` and `restoration`, 0 to 1."""
    scale = draw_scale(generator, recipe.degradation)
    strength = draw_strength(generator, recipe.degradation)
    settings, restoration = recipe.degradation, min(1.0, strength)
    if strength and recipe.single_pass_share and chance(generator, recipe.single_pass_share):
        # A pass of the strength that phones and streams have takes away half as much as the two of the full chain.
        settings, strength, restoration = SINGLE_PASS, 2 * strength, restoration / 2
    lq = degrade(clip, scale, generator, settings.at(strength))
    known = {"scale": torch.tensor(clip.shape[-2] / lq.shape[-2]), "restoration": torch.tensor(restoration)}
    return resize_bicubic(lq, Size.of(clip)), known


def draw_canvas_size(generator: Generator, recipe: Recipe) -> tuple[int, int]:
    """Draw height and width separately, in whole tokens, to cover all aspect ratios."""
    choices = (recipe.canvas_max - recipe.canvas_min) // 32 + 1
    height, width = (recipe.canvas_min + 32 * below(generator, choices) for _ in range(2))
    return height, width


def draw_noise(generator: Generator, recipe: Recipe, geometry: Geometry, cells: Cells) -> Tensor:
    """Draw the noise (C, T, h, w) of latents, the same for all frames if the recipe says so."""
    length, *sides = cells
    drawn = 1 if recipe.still_noise else length
    return torch.randn(geometry.latent_channels, drawn, *sides, generator=generator).expand(-1, length, -1, -1)


def draw_shift(generator: Generator) -> Tensor:
    """Draw how many rows and columns of decoded crops the networks of the losses leave out, see `pixel_losses`."""
    return torch.tensor([below(generator, LOOK_PX) for _ in range(2)])


def draw_sigma(generator: Generator) -> Tensor:
    """Draw sigma uniformly, except for a third at 1, where few-step sampling starts."""
    at_start, level = torch.rand(2, generator=generator)
    return torch.ones(()) if at_start < 1 / 3 else level


def draw_few_step_sigma(generator: Generator) -> Tensor:
    """Draw one of the noise levels of 1 to 4 denoising steps."""
    return torch.tensor(FEW_STEP_SIGMAS[below(generator, len(FEW_STEP_SIGMAS))])


def draw_noise_timestep(generator: Generator, recipe: Recipe) -> Tensor:
    """Draw the noise-augmentation timestep of the condition, 0 to 1000; it is 0 for a share of the patches."""
    clean, level = torch.rand(2, generator=generator)
    span = recipe.max_noise_timestep - recipe.min_noise_timestep
    return torch.zeros(()) if clean < recipe.clean_condition_share else recipe.min_noise_timestep + span * level


def as_video(clip: Tensor) -> Tensor:
    """Convert (F, 3, H, W) in [0, 1] to float16 (3, F, H, W) in [-1, 1].

    This halves the size, with an error of 0.06 of an 8-bit level.
    """
    return clip.mul(2).sub(1).transpose(0, 1).half()


# --- from samples to batches --------------------------------------------------------------------------------


class Samples(Dataset[Sample]):
    """Map-style dataset indexed by (step, number within the step)."""

    def __init__(self, make: MakeSample, source: ClipSource, recipe: Recipe):
        self.make, self.source, self.recipe = make, source, recipe
        self._shared: tuple[tuple[int, int], Sample] | None = None  # the last canvas, by the place of its first patch

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        step, number = place
        sizes = self.recipe.size_choices  # one size per step, because its samples are stacked
        side = sizes[below(generator_of(self.recipe.seed, step, 0), len(sizes))]
        generator = generator_of(self.recipe.seed, step, 1 + number)
        content = self.make.part(self._whole(step, number, generator, side), generator, side)
        return content | self.make.noise(generator, self.make.geometry.latent_shape(self.recipe.num_frames, side, side))

    def _whole(self, step: int, number: int, generator: Generator, side: int) -> Sample:
        """Draw a canvas, or return that of the patch before: a group of patches shares one."""
        if self.recipe.patches_per_canvas == 1:
            return self.make.whole(self.source, generator, side)
        first = step, number - number % self.recipe.patches_per_canvas
        if self._shared is None or self._shared[0] != first:
            shared = generator_of(self.recipe.seed, step, -1 - first[1])
            self._shared = first, self.make.whole(self.source, shared, side)
        return self._shared[1]


class Places(Sampler[list[tuple[int, int]]]):
    """Yield the indices of one device's batches from `first_step` to the end, `accumulate` batches per step."""

    def __init__(self, recipe: Recipe, first_step: int, rank: int, num_ranks: int):
        self.recipe, self.first_step, self.rank, self.num_ranks = recipe, first_step, rank, num_ranks

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size = self.recipe.batch_size
        for step in range(self.first_step, self.recipe.steps):
            for part in range(self.recipe.accumulate):
                first = (part * self.num_ranks + self.rank) * size
                yield [(step, first + number) for number in range(size)]

    def __len__(self) -> int:
        return (self.recipe.steps - self.first_step) * self.recipe.accumulate


def batches(
    dataset: Dataset[Sample], recipe: Recipe, first_step: int, rank: int = 0, num_ranks: int = 1
) -> Iterator[Sample]:
    """Start worker processes that prefetch batches, and return an iterator over the batches."""
    loader = DataLoader(
        dataset,
        batch_sampler=Places(recipe, first_step, rank, num_ranks),
        num_workers=recipe.workers,
        prefetch_factor=2 if recipe.workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    others = multiprocessing.active_children()
    # Workers inherit what is blocked. Launchers signal them too, but the last step of the trainer still needs samples.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        started = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for worker in multiprocessing.active_children():
        if worker not in others:
            # DataLoader's last resort. SIGTERM, which they block, would leave the trainer waiting for them at its exit.
            worker.terminate = worker.kill  # type: ignore[method-assign]
    return started


def generator_of(*place: int) -> Generator:
    """Return a generator seeded by a position such as (seed, step, number)."""
    seed = 0
    for part in place:
        seed = (seed * 1_000_003 + part) % 2**63
    return Generator().manual_seed(seed)
