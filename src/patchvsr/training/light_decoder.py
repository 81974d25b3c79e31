"""Train a light decoder on the latents of an open base, whose own autoencoder stays as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.training.adversary import Adversary
from patchvsr.training.losses import charbonnier
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import LightDecoderSample
from patchvsr.training.stages import (
    LATENT_NOISE,
    Batch,
    Stage,
    by_clip,
    frozen,
    pixel_losses,
    told_restoration,
    without_and_with_latents,
)


class LightDecoderStage(Stage):
    """Train restorer, estimate and decoder of detail together, to return the original from its latents and the canvas.

    Noise on the latents prepares the decoder for those that a transformer makes. The restorer's own output, which is
    the result with 0 steps, has a loss of its own.
    """

    def __init__(self, recipe: Recipe, autoencoder: LightAutoencoder):
        super().__init__(recipe)
        frozen(autoencoder)
        self.autoencoder = autoencoder
        autoencoder.decoder.requires_grad_(True)
        self.adversary = Adversary(recipe.adversary) if recipe.adversarial_weight else None
        self.make_sample = LightDecoderSample(recipe, autoencoder.geometry)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        hq, canvas = batch["hq"].float(), batch["canvas"].float()
        with torch.no_grad():
            latents = self.autoencoder.encode(hq).float() + LATENT_NOISE * batch["noise"]
        restoration, estimate = told_restoration(self.autoencoder.decoder.restorer, canvas, batch)
        decoded = by_clip(self._decoded, latents, canvas, restoration, batch["scale"])
        restored, output = (torch.cat(parts) for parts in zip(*decoded, strict=True))
        losses = pixel_losses(output, hq, canvas, self.recipe, self.adversary)
        return losses | {"restored": charbonnier(restored, hq)} | estimate

    def _decoded(self, latents: Tensor, canvas: Tensor, restoration: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        restored, output, _ = self.autoencoder.decoder(latents, canvas, None, restoration=restoration, scale=scale)
        return restored, output

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        return without_and_with_latents(self.autoencoder, lq, hq)
