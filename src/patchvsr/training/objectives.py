"""The stages of training: what each one trains, and its loss. The trainer knows only this interface."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Generator, Tensor, nn

from patchvsr.models.mini_autoencoder import MiniAutoencoder
from patchvsr.models.transformer import PatchConditions, PatchVSRTransformer3DModel
from patchvsr.patches.canvas import crop_box_condition, location_mask
from patchvsr.patches.grid import Box
from patchvsr.sampling.conditions import resize_bicubic
from patchvsr.training.clips import ClipSource
from patchvsr.training.degradation import degrade, draw_scale
from patchvsr.training.recipes import Recipe


class Stage(Protocol):
    """One stage: the modules it trains by name, a batch as a function of a generator, and a loss."""

    modules: dict[str, nn.Module]

    def batch(self, source: ClipSource, generator: Generator) -> dict[str, Tensor]: ...

    def loss(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """Named losses; their sum is minimised."""
        ...


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Smooth L1: sharper than squared error, and unlike L1 with a gradient that fades at zero."""
    return ((output - target).float().square() + epsilon**2).sqrt().mean()


def spectral(output: Tensor, target: Tensor) -> Tensor:
    """L1 between the Fourier transforms of frames (N, 3, F, H, W): fine detail counts as much as broad shapes."""
    difference = torch.fft.rfft2((output - target).float(), norm="ortho")
    return difference.abs().mean()


def hq_and_canvas(source: ClipSource, generator: Generator, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """A batch of clean clips and their canvases, both (N, 3, F, S, S) in [-1, 1]."""
    pairs = []
    for _ in range(recipe.batch_size):
        clip = source.window(generator, recipe.num_frames, recipe.size, recipe.size)
        scale = draw_scale(generator, recipe.degradation)
        canvas = resize_bicubic(degrade(clip, scale, generator, recipe.degradation), (recipe.size, recipe.size))
        pairs.append((clip, canvas))
    hq, lq = (torch.stack(clips).transpose(1, 2) * 2 - 1 for clips in zip(*pairs, strict=True))
    return hq, lq


class CodecStage:
    """Autoencoder with a reference: latents must carry what the canvas lacks, and the decoder must do without.

    Half of the clips decode from dropped latents (zero), the others from latents with noise, which keeps the
    latent space smooth for the transformer.
    """

    def __init__(self, recipe: Recipe, codec: MiniAutoencoder):
        self.recipe = recipe
        self.codec = codec
        self.modules: dict[str, nn.Module] = {"codec": codec}

    def batch(self, source: ClipSource, generator: Generator) -> dict[str, Tensor]:
        hq, canvas = hq_and_canvas(source, generator, self.recipe)
        return {"hq": hq, "canvas": canvas}

    def loss(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        hq, canvas = batch["hq"], batch["canvas"]
        latents = self.codec.encode(hq)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        keep = (torch.rand(len(hq), 1, 1, 1, 1, generator=generator) > 0.5).to(latents)
        output = self.codec.decode((latents + 0.2 * noise) * keep, canvas)
        return {
            "pixel": charbonnier(output, hq),
            "spectral": self.recipe.spectral_weight * spectral(output, hq),
        }


class BaseStage:
    """The "pre-trained model": rectified flow on whole frames, v = eps - z_0, with a learned fixed prompt."""

    def __init__(self, recipe: Recipe, codec: MiniAutoencoder, base: WanTransformer3DModel, prompt: nn.Parameter):
        self.recipe, self.codec, self.base, self.prompt = recipe, codec.requires_grad_(False), base, prompt
        self.modules: dict[str, nn.Module] = {"base": base, "prompt": nn.ParameterList([prompt])}

    def batch(self, source: ClipSource, generator: Generator) -> dict[str, Tensor]:
        recipe = self.recipe
        clips = [
            resize_bicubic(source.window(generator, recipe.num_frames, *[recipe.canvas_size] * 2), (recipe.size,) * 2)
            for _ in range(recipe.batch_size)
        ]
        return {"hq": torch.stack(clips).transpose(1, 2) * 2 - 1}

    def loss(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = self.codec.encode(batch["hq"]).float()
        noise, sigma = torch.randn(latents.shape, generator=generator), draw_sigma(len(latents), generator)
        noisy = (1 - sigma) * latents + sigma * noise
        prompt = self.prompt.expand(len(latents), -1, -1)
        velocity = self.base(noisy, 1000 * sigma.flatten(), prompt).sample
        return {"velocity": F.mse_loss(velocity.float(), noise - latents)}


class AdapterStage:
    """Dual-branch adapter and LoRA on patches, by rectified flow (paper, section 3.2 and 3.3)."""

    def __init__(self, recipe: Recipe, codec: MiniAutoencoder, transformer: PatchVSRTransformer3DModel):
        self.recipe, self.codec, self.transformer = recipe, codec.requires_grad_(False), transformer
        self.modules: dict[str, nn.Module] = {"transformer": transformer}

    def batch(self, source: ClipSource, generator: Generator) -> dict[str, Tensor]:
        return patch_batch(source, generator, self.recipe)

    def loss(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        sigma = draw_sigma(len(batch["hq"]), generator)
        _, velocity, target = self._predict(batch, sigma, generator)
        return {"velocity": F.mse_loss(velocity.float(), target)}

    def _predict(self, batch: dict[str, Tensor], sigma: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents at `sigma`, the model's velocity, and the true one."""
        with torch.no_grad():
            latents = self.codec.encode(batch["hq"]).float()
            conditions = patch_conditions(self.codec, batch, self.recipe, generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = (1 - sigma) * latents + sigma * noise
        features = self.transformer.encode_conditions(conditions)
        velocity = self.transformer(noisy, 1000 * sigma.flatten(), features=features).sample
        return noisy, velocity, noise - latents


class DistillStage(AdapterStage):
    """Few steps: at the noise levels of 1 to 4 steps the estimate of the clean latents must already decode well.

    Losses are in pixels; the decoder learns the estimates' smoothness along with the transformer. The transformer works
    on whole patches, the decoder on crops of them, because it costs as much as the transformer. One crop in three
    decodes from dropped latents, to keep the feed-forward preview.
    """

    def __init__(self, recipe: Recipe, codec: MiniAutoencoder, transformer: PatchVSRTransformer3DModel):
        super().__init__(recipe, codec, transformer)
        codec.decoder.requires_grad_(True)
        self.modules = {"transformer": transformer, "codec": codec}

    def loss(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        count, recipe = len(batch["hq"]), self.recipe
        levels = torch.tensor([1.0, 1.0, 0.75, 0.5, 0.25])
        sigma = levels[torch.randint(len(levels), (count,), generator=generator)].view(-1, 1, 1, 1, 1)
        noisy, velocity, target = self._predict(batch, sigma, generator)
        estimate = noisy - sigma * velocity.float()
        crops = [self._crop(estimate, batch, generator) for _ in range(3)]
        latents, canvas, hq = (torch.cat(parts) for parts in zip(*crops, strict=True))
        keep = torch.ones(len(latents), 1, 1, 1, 1)
        keep[-count:] = 0
        output = self.codec.decode(latents * keep, canvas)
        return {
            "pixel": charbonnier(output, hq),
            "spectral": recipe.spectral_weight * spectral(output, hq),
            "velocity": 0.02 * F.mse_loss(velocity.float(), target),
        }

    def _crop(self, latents: Tensor, batch: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The same random part of latents, canvas and clean clip, `decode_size` pixels and `decode_frames` frames."""
        factor, time_factor = self.codec.spatial_factor, self.codec.temporal_factor
        available = torch.tensor(latents.shape[2:])
        side = self.recipe.decode_size // factor
        wanted = torch.tensor([(self.recipe.decode_frames - 1) // time_factor + 1, side, side])
        size = torch.minimum(available, wanted)
        t, y, x = (int(torch.randint(int(n), (), generator=generator)) for n in available - size + 1)
        frames, height, width = size.tolist()
        cells = (..., slice(t, t + frames), slice(y, y + height), slice(x, x + width))
        # The last frame of a cell stands where a first frame, alone in its cell, would stand.
        first, last = time_factor * t, time_factor * (t + frames - 1) + 1
        rows, columns = slice(y * factor, (y + height) * factor), slice(x * factor, (x + width) * factor)
        pixels = (..., slice(first, last), rows, columns)
        return latents[cells], batch["canvas"][pixels], batch["hq"][pixels]


def draw_sigma(count: int, generator: Generator) -> Tensor:
    """Noise levels (N, 1, 1, 1, 1): uniform, with a third at 1, where few-step sampling starts."""
    sigma = torch.rand(count, generator=generator)
    sigma[torch.rand(count, generator=generator) < 1 / 3] = 1.0
    return sigma.view(-1, 1, 1, 1, 1)


def patch_batch(source: ClipSource, generator: Generator, recipe: Recipe) -> dict[str, Tensor]:
    """Patches cut from canvases, each with the global view and its place on it."""
    items: list[dict[str, Tensor]] = []
    side, cell = recipe.canvas_size, 16
    for _ in range(recipe.batch_size):
        clip = source.window(generator, recipe.num_frames, side, side)
        scale = draw_scale(generator, recipe.degradation)
        canvas = resize_bicubic(degrade(clip, scale, generator, recipe.degradation), (side, side))
        top, left = (2 * torch.randint((side - recipe.size) // (2 * cell) + 1, (2,), generator=generator)).tolist()
        cells = recipe.size // cell
        box = Box(0, 1, top, top + cells, left, left + cells)
        area = (..., *box.scaled(1, cell, cell).slices[2:])
        items.append(
            {
                "hq": clip[area].transpose(0, 1) * 2 - 1,
                "canvas": canvas[area].transpose(0, 1) * 2 - 1,
                "global": resize_bicubic(canvas, (recipe.size, recipe.size)).transpose(0, 1) * 2 - 1,
                "mask": location_mask(box, (side // cell,) * 2, (cells,) * 2),
                "box": torch.tensor(crop_box_condition(box, (side // cell,) * 2)),
                "scale": torch.tensor(scale),
            }
        )
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def patch_conditions(
    codec: MiniAutoencoder, batch: dict[str, Tensor], recipe: Recipe, generator: Generator
) -> PatchConditions:
    """Conditions of a training batch; half of the patches without noise augmentation."""
    clean = codec.encode_condition(batch["canvas"]).float()
    level = torch.rand(len(clean), generator=generator) * recipe.max_noise_timestep
    level[torch.rand(len(clean), generator=generator) < 0.5] = 0.0
    sigma = (level / 1000).view(-1, 1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator)
    return PatchConditions(
        patch_latents=(1 - sigma) * clean + sigma * noise,
        global_latents=codec.encode_condition(batch["global"]).float(),
        location_mask=batch["mask"],
        scale=batch["scale"],
        crop_box=batch["box"],
        noise_timestep=level,
    )
