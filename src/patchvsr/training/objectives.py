"""The stages of training: what each one trains, and its loss. The trainer knows only this interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from patchvsr.models.mini_autoencoder import MiniAutoencoder
from patchvsr.training.clips import ClipSource
from patchvsr.training.degradation import degrade
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
        canvas, _ = degrade(clip, generator, recipe.degradation)
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
        return {"pixel": charbonnier(output, hq), "spectral": self.recipe.spectral_weight * spectral(output, hq)}


STAGES: dict[str, Callable[..., Stage]] = {"codec": CodecStage}
