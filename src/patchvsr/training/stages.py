"""The stages of training: what each one trains, and its losses. The trainer knows only this interface."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.mini.autoencoder import MiniAutoencoder
from patchvsr.models.restoration import estimate_restoration
from patchvsr.models.tiles import decode_tiled
from patchvsr.models.transformer import PatchConditions, PatchFeatures, PatchVSRTransformer3DModel
from patchvsr.patches.grid import patch_lines
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.training.adversary import Adversary
from patchvsr.training.losses import charbonnier, spectral
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import AutoencoderSample, FrameSample, MakeSample, PatchSample

Batch = dict[str, Tensor]
ESTIMATE_WEIGHT = 0.02
# Restoring what is clean costs far more than restoring too little, so where it is not clear, clean is to be said.
CLEAN_WEIGHT = 3.0


class Stage(nn.Module):
    """One stage. Parameters that require gradients are trained, and nothing else is.

    `forward` is a function of the batch alone: everything random lies in the samples.
    """

    make_sample: MakeSample

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses; their sum is minimised."""
        raise NotImplementedError

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        """For validation: a clip (F, 3, h, w) in [0, 1] and its original, to restored clips by method."""
        return {}

    def patch_lines(self, height: int, width: int) -> tuple[list[int], list[int]]:
        """Rows and columns at which patches end inside a restored frame, to look for seams at."""
        return [], []

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


class AutoencoderStage(Stage):
    """Autoencoder with a reference: latents must carry what the canvas lacks, and the decoder must do without.

    A share of the clips decodes from dropped latents (zero), the others from latents with noise, which keeps the
    latent space smooth for the transformer. The decoder is told how degraded a clip is; the estimator, which tells it
    when upscaling, learns to see it. An adversary, where the recipe gives it a weight, asks for sharpness.
    """

    def __init__(self, recipe: Recipe, autoencoder: MiniAutoencoder):
        super().__init__(recipe)
        self.autoencoder = autoencoder
        autoencoder.encoder.requires_grad_(recipe.train_encoder)
        self.adversary = Adversary() if recipe.adversarial_weight else None
        self.make_sample = AutoencoderSample(recipe, autoencoder.geometry)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        hq, canvas = batch["hq"].float(), batch["canvas"].float()
        latents = self.autoencoder.encode(hq)
        latents = (latents + 0.2 * batch["noise"].to(latents)) * per_clip(batch["keep"])
        restoration, scale = batch["restoration"], batch["scale"]
        output = self.autoencoder.decode(latents, canvas, restoration=restoration, scale=scale)
        losses = pixel_losses(output, hq, canvas, self.recipe, self.adversary)
        logits = self.autoencoder.estimate_restoration(canvas, scale)
        weight = torch.where(restoration == 0, CLEAN_WEIGHT, 1.0)
        losses["estimate"] = ESTIMATE_WEIGHT * F.binary_cross_entropy_with_logits(logits, restoration, weight)
        return losses

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        canvas, original = (resize_bicubic(clip, Size.of(hq)).mul(2).sub(1).transpose(0, 1) for clip in (lq, hq))
        latents = self.autoencoder.encode(original.unsqueeze(0).to(self.device))[0].float().cpu()
        cells = {"latents dropped": torch.zeros_like(latents), "true latents": latents}
        scale = hq.shape[-2] / lq.shape[-2]
        restoration = estimate_restoration(self.autoencoder, canvas, Size.of(hq), scale)
        return {
            name: decode_tiled(self.autoencoder, cell, canvas, 512, restoration=restoration, scale=scale)
            .transpose(0, 1).add(1).div(2).clamp(0, 1)
            for name, cell in cells.items()
        }  # fmt: skip


class BaseStage(Stage):
    """The "pre-trained model": rectified flow on whole frames, v = eps - z_0, with a learned fixed prompt."""

    def __init__(self, recipe: Recipe, autoencoder: Autoencoder, base: WanTransformer3DModel, prompt: Tensor):
        super().__init__(recipe)
        self.autoencoder, self.base, self.prompt = frozen(autoencoder), base, nn.ParameterList([prompt])
        self.make_sample = FrameSample(recipe, autoencoder.geometry)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        latents = batch["latents"] if "latents" in batch else self.encode(batch)["latents"]
        noisy, target = add_noise(latents, batch)
        prompt = self.prompt[0].expand(len(latents), -1, -1)
        velocity = self.base(noisy, 1000 * batch["sigma"], prompt).sample
        return {"velocity": F.mse_loss(velocity.float(), target)}

    @torch.no_grad()
    def encode(self, batch: Batch) -> Batch:
        return {"latents": self.autoencoder.encode(batch["hq"].float()).float()}


class AdapterStage(Stage):
    """Dual-branch adapter and LoRA on patches, by rectified flow (paper, sections 3.2 and 3.3)."""

    few_steps = False

    def __init__(self, recipe: Recipe, autoencoder: Autoencoder, transformer: PatchVSRTransformer3DModel):
        super().__init__(recipe)
        self.autoencoder, self.transformer = frozen(autoencoder), transformer
        self.make_sample = PatchSample(recipe, autoencoder.geometry, few_steps=self.few_steps)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        batch = self.with_latents(batch)
        noisy, target = add_noise(batch["latents"], batch)
        velocity = self.transformer(noisy, 1000 * batch["sigma"], features=self.features(batch)).sample
        return {"velocity": F.mse_loss(velocity.float(), target)}

    def with_latents(self, batch: Batch) -> Batch:
        """Encodes what does not come from a cache of latents."""
        return batch if "latents" in batch else batch | self.encode(batch)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Batch:
        """Pixels to latents, once per sample: what `patchvsr cache` stores."""
        return {
            "latents": self.autoencoder.encode(batch["hq"].float()).float(),
            "patch_latents": self.autoencoder.encode_condition(batch["canvas"].float()).float(),
            "global_latents": self.autoencoder.encode_condition(batch["global"].float()).float(),
        }

    def conditions(self, batch: Batch) -> PatchConditions:
        """What upscaling would tell the model of these patches, with noise augmentation."""
        sigma = per_clip(batch["noise_timestep"] / 1000)
        return PatchConditions(
            patch_latents=(1 - sigma) * batch["patch_latents"] + sigma * batch["condition_noise"],
            global_latents=batch["global_latents"],
            location_mask=batch["mask"],
            scale=batch["scale"],
            crop_box=batch["box"],
            noise_timestep=batch["noise_timestep"],
        )

    def features(self, batch: Batch) -> PatchFeatures:
        return self.transformer.encode_conditions(self.conditions(batch))

    def pipeline(self) -> PatchVSRPipeline:
        """The modules in training as users would run them."""
        recipe = self.recipe
        pipeline = PatchVSRPipeline(
            self.transformer, self.autoencoder, patch_px=max(recipe.size_choices), patch_frames=recipe.num_frames,
            noise_timestep=recipe.min_noise_timestep,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        pipeline, size = self.pipeline(), (hq.shape[-1], hq.shape[-2])
        restored = {}
        # Trained parts are in float32, a large base in bfloat16: autocast brings them together, as in training.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            for steps in self.recipe.validation_step_choices:
                frames, *_ = pipeline(lq, size=size, num_inference_steps=steps, seed=0, return_dict=False)
                restored[f"steps {steps}"] = frames
        return restored

    def patch_lines(self, height: int, width: int) -> tuple[list[int], list[int]]:
        return patch_lines(Size(width, height), max(self.recipe.size_choices), self.autoencoder.geometry.spatial_factor)


def pixel_losses(
    output: Tensor, target: Tensor, canvas: Tensor, recipe: Recipe, adversary: Adversary | None
) -> dict[str, Tensor]:
    """Losses of restored clips (N, 3, F, H, W) against the originals."""
    losses = {"pixel": charbonnier(output, target), "spectral": recipe.spectral_weight * spectral(output, target)}
    if adversary is not None:
        losses |= adversary.losses(output, target, canvas, weight=recipe.adversarial_weight)
    return losses


def add_noise(latents: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Noisy latents at the batch's levels, and the velocity that leads back: z_t = (1 - t) z_0 + t eps."""
    sigma, noise = per_clip(batch["sigma"]), batch["noise"]
    return (1 - sigma) * latents + sigma * noise, noise - latents


def per_clip(values: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1, 1)"""
    return values.view(-1, 1, 1, 1, 1)


def frozen(autoencoder: Autoencoder) -> Autoencoder:
    autoencoder.requires_grad_(False)  # type: ignore[attr-defined]
    return autoencoder
