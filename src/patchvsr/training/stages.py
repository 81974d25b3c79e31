"""Training stages: which parameters each stage trains, and its losses. The trainer uses only this interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.geometry import Geometry
from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
from patchvsr.models.mini.restorer import Restorer
from patchvsr.models.restoration import estimate_restoration
from patchvsr.models.transformer import PatchConditions, PatchFeatures, PatchVSRTransformer3DModel
from patchvsr.models.wan_base.base import new_scheduler
from patchvsr.patches.grid import patch_lines
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.training.adversary import Adversary
from patchvsr.training.losses import band_energy_distance, charbonnier, spectral
from patchvsr.training.perceptual import perceptual
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import (
    LOOK_PX,
    AutoencoderSample,
    FrameSample,
    MakeSample,
    PatchSample,
    RestorerSample,
)

Batch = dict[str, Tensor]
Result = TypeVar("Result")
ESTIMATE_WEIGHT = 0.02
ESTIMATED_FRAMES = 5  # of a clip, as when upscaling
# Deviation of the noise on latents of unit deviation in training, and weight of what conditions cannot tell of them.
LATENT_NOISE, UNEXPLAINED_WEIGHT = 0.2, 0.1


class Stage(nn.Module):
    """Base class of the stages. Exactly the parameters that require gradients are trained.

    `forward` is deterministic in the batch: all randomness is in the samples.
    """

    make_sample: MakeSample

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return named losses, whose sum is minimised."""
        raise NotImplementedError

    def players(self) -> list[list[nn.Parameter]]:
        """Return the trained parameters by player, whose gradients are clipped apart: the model, and its adversary."""
        adversary = getattr(self, "adversary", None)
        against = [] if adversary is None else list(adversary.parameters())
        known = {id(parameter) for parameter in against}
        model = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [model, against] if against else [model]

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        """Restore a clip (F, 3, h, w) in [0, 1] for validation; return restored clips (F, 3, H, W) by method.

        hq: the original (F, 3, H, W) in [0, 1].
        """
        return {}

    def patch_lines(self, height: int, width: int) -> tuple[list[int], list[int]]:
        """Return rows and columns of the patch borders inside a restored frame, where seams are measured."""
        return [], []

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


class RestorerStage(Stage):
    """Train the feed-forward restorer and its estimate of the degradation, together.

    With `num_frames=1` the estimator stays as it is.
    """

    def __init__(self, recipe: Recipe, restorer: Restorer, geometry: Geometry):
        super().__init__(recipe)
        self.restorer = restorer
        self.make_sample = RestorerSample(recipe, geometry)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        hq, canvas = batch["hq"].float(), batch["canvas"].float()
        restoration, estimate = told_restoration(self.restorer, canvas, batch)
        return {"pixel": charbonnier(self._restored(canvas, restoration, batch["scale"]), hq)} | estimate

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        canvas = resize_bicubic(lq, Size.of(hq)).mul(2).sub(1).transpose(0, 1).unsqueeze(0).to(self.device)
        scale = torch.tensor([hq.shape[-2] / lq.shape[-2]], device=self.device)
        output = self._restored(canvas, self.restorer.estimator(canvas, scale).sigmoid(), scale)
        return {"restored": output[0].transpose(0, 1).add(1).div(2).clamp(0, 1)}

    def _restored(self, canvas: Tensor, restoration: Tensor, scale: Tensor) -> Tensor:
        def restored(canvas: Tensor, restoration: Tensor, scale: Tensor) -> Tensor:
            return self.restorer(canvas, None, restoration=restoration, scale=scale)[0]

        return torch.cat(by_clip(restored, canvas, restoration, scale))


class AutoencoderStage(Stage):
    """Train the decoder of what the restorer leaves out, and conditions that tell of it.

    A linear layer learns to predict latents from the conditions: `unexplained` is the share of their variance that it
    cannot, which is left to the transformer.
    """

    def __init__(self, recipe: Recipe, autoencoder: ResidualAutoencoder):
        super().__init__(recipe)
        self.autoencoder = autoencoder
        autoencoder.restorer.requires_grad_(False)
        geometry = autoencoder.geometry
        self.predict = nn.Conv3d(geometry.condition_channels, geometry.latent_channels, 1)
        self.adversary = Adversary(recipe.adversary) if recipe.adversarial_weight else None
        self.make_sample = AutoencoderSample(recipe, geometry)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        hq, canvas = batch["hq"].float(), batch["canvas"].float()
        made = by_clip(self._decoded, hq, canvas, batch["noise"], batch["restoration"], batch["scale"])
        outputs, latents = (torch.cat(parts) for parts in zip(*made, strict=True))
        predicted = self.predict(self.autoencoder.encode_condition(canvas)).float()
        return pixel_losses(outputs, hq, canvas, self.recipe, self.adversary, batch["shift"]) | {
            "unexplained": UNEXPLAINED_WEIGHT * F.mse_loss(predicted, latents),
        }

    def _decoded(
        self, hq: Tensor, canvas: Tensor, noise: Tensor, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output for clips, and their true latents."""
        autoencoder = self.autoencoder
        embedding = autoencoder.restorer.embed(restoration, scale)
        with torch.no_grad():
            restored, features, _ = autoencoder.restored(canvas, None, embedding)
            latents = autoencoder.latents(hq, restored)
        noisy = latents + LATENT_NOISE * noise
        output, _ = autoencoder.with_detail(noisy, restored, features, embedding, range(hq.shape[2]), {})
        return output, latents

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        return without_and_with_latents(self.autoencoder, lq, hq)


class BaseStage(Stage):
    """Train the base model: rectified flow on whole frames, v = eps - z_0, with its fixed prompt."""

    def __init__(self, recipe: Recipe, autoencoder: Autoencoder, base: WanTransformer3DModel, prompt: Tensor):
        super().__init__(recipe)
        self.autoencoder, self.base, self.prompt = frozen(autoencoder), base, nn.ParameterList([prompt])
        self.make_sample = FrameSample(recipe, autoencoder.geometry, with_canvas=autoencoder.encodes_residual)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        latents = batch["latents"] if "latents" in batch else self.encode(batch)["latents"]
        noisy, target = add_noise(latents, batch)
        prompt = self.prompt[0].expand(len(latents), -1, -1)
        velocity = self.base(noisy, 1000 * batch["sigma"], prompt).sample
        return {"velocity": F.mse_loss(velocity.float(), target)}

    @torch.no_grad()
    def encode(self, batch: Batch) -> Batch:
        return {"latents": encoded(self.autoencoder, batch)}


class AdapterStage(Stage):
    """Train the dual-branch adapter and LoRA on patches with rectified flow (paper, sections 3.2 and 3.3)."""

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
        """Encode the batch, unless its latents come from a cache."""
        return batch if "latents" in batch else batch | self.encode(batch)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Batch:
        """Encode pixels to latents; `patchvsr cache` stores this result."""
        return {
            "latents": encoded(self.autoencoder, batch),
            "patch_latents": self.autoencoder.encode_condition(batch["canvas"].float()).float(),
            "global_latents": self.autoencoder.encode_condition(batch["global"].float()).float(),
        }

    def conditions(self, batch: Batch) -> PatchConditions:
        """Build the conditions of these patches as in upscaling, with noise augmentation."""
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
        """Build a pipeline from the modules in training, as users would run it."""
        recipe = self.recipe
        pipeline = PatchVSRPipeline(
            self.transformer, self.autoencoder,
            new_scheduler(recipe.base),
            patch_px=max(recipe.size_choices), patch_frames=recipe.num_frames,
            noise_timestep=recipe.min_noise_timestep,
            still_noise=recipe.still_noise,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @torch.no_grad()
    def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
        pipeline, size = self.pipeline(), (hq.shape[-1], hq.shape[-2])
        restored = {}
        # Trained parameters are float32 and a large base is bfloat16: autocast reconciles them, as in training.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            for steps in self.recipe.validation_step_choices:
                frames, *_ = pipeline(lq, size=size, num_inference_steps=steps, seed=0, return_dict=False)
                restored[f"steps {steps}"] = frames
        return restored

    def patch_lines(self, height: int, width: int) -> tuple[list[int], list[int]]:
        return patch_lines(Size(width, height), max(self.recipe.size_choices), self.autoencoder.geometry.spatial_factor)


def told_restoration(restorer: Restorer, canvas: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return how degraded a restorer is told clips are (N,), and the loss of its own estimate.

    For a share of the clips it is told the true degradation, for the others its estimate, so that it learns what the
    estimate is worth. The estimate compares frames: with a single one all are told the truth, and there is no loss.
    """
    true = batch["restoration"]
    if canvas.shape[2] == 1:
        return true, {}
    logits = restorer.estimator(canvas[:, :, :ESTIMATED_FRAMES], batch["scale"])
    loss = ESTIMATE_WEIGHT * F.binary_cross_entropy_with_logits(logits, true)
    return torch.where(batch["told"], true, logits.sigmoid()), {"estimate": loss}


def without_and_with_latents(autoencoder: Autoencoder, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
    """Restore a clip (F, 3, h, w) in [0, 1] as with 0 steps, and as with the latents of its original (F, 3, H, W)."""
    canvas, original = (resize_bicubic(clip, Size.of(hq)).mul(2).sub(1).transpose(0, 1) for clip in (lq, hq))
    scale = hq.shape[-2] / lq.shape[-2]
    restoration = estimate_restoration(autoencoder, [canvas.unbind(1)], Size.of(hq), scale)
    known = {"restoration": torch.tensor([restoration]), "scale": torch.tensor([scale])}
    known = {name: value.to(autoencoder.device) for name, value in known.items()}
    reference, original = (clip.unsqueeze(0).to(autoencoder.device) for clip in (canvas, original))
    latents = autoencoder.encode(original, reference=reference, **known)
    return {
        name: autoencoder.decode(cells, reference, **known)[0].transpose(0, 1).add(1).div(2).clamp(0, 1)
        for name, cells in (("no latents", None), ("true latents", latents))
    }


def by_clip(work: Callable[..., Result], *parts: Tensor) -> list[Result]:
    """Return the results of work on videos (N, C, F, H, W) and what is known of them.

    On a CPU, clips are worked on one after the other: what a bundled block is told of one clip is folded into its
    weights, and little is held at once. Single frames are too little work for that and go together, as on other
    devices.
    """
    one_by_one = parts[0].device.type == "cpu" and parts[0].shape[2] > 1
    count = 1 if one_by_one else len(parts[0])
    return [work(*clip) for clip in zip(*(part.split(count) for part in parts), strict=True)]


def encoded(autoencoder: Autoencoder, batch: Batch) -> Tensor:
    """Return the latents of the originals of a batch, in float32."""
    if not autoencoder.encodes_residual:
        return autoencoder.encode(batch["hq"].float()).float()
    known = {"reference": batch["canvas"].float(), "restoration": batch["restoration"], "scale": batch["scale"]}
    return autoencoder.encode(batch["hq"].float(), **known).float()


def pixel_losses(
    output: Tensor,
    target: Tensor,
    canvas: Tensor,
    recipe: Recipe,
    adversary: Adversary | None,
    shift: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compare restored clips (N, 3, F, H, W) with the originals.

    shift: (N, 2), rows and columns below `LOOK_PX` that networks do not see. They look at a fixed grid of pixels:
    without a shift, a pattern of the decoder's period would look the same to them everywhere.
    """
    losses = {"pixel": charbonnier(output, target)}
    if recipe.spectral_weight:
        losses["spectral"] = recipe.spectral_weight * spectral(output, target)
    if shift is not None:
        output, target, canvas = (_shifted(clip, shift) for clip in (output, target, canvas))
    if recipe.energy_weight:
        losses["energy"] = recipe.energy_weight * band_energy_distance(output, target)
    if recipe.feature_weight:
        losses["features"] = recipe.feature_weight * perceptual(output, target)
    if adversary is not None:
        losses |= adversary.losses(output, target, canvas, weight=recipe.adversarial_weight)
    return losses


def _shifted(clips: Tensor, shift: Tensor) -> Tensor:
    """Cut clips (N, 3, F, H, W) by `LOOK_PX` - 1 rows and columns, of which the first (N, 2) are left out before."""
    height, width = (side - LOOK_PX + 1 for side in clips.shape[-2:])
    cut = [clip[..., y : y + height, x : x + width] for clip, (y, x) in zip(clips, shift.tolist(), strict=True)]
    return torch.stack(cut)


def add_noise(latents: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return noisy latents z_t = (1 - t) z_0 + t eps at the sigmas of the batch, and the velocity target eps - z_0."""
    sigma, noise = per_clip(batch["sigma"]), batch["noise"]
    return (1 - sigma) * latents + sigma * noise, noise - latents


def per_clip(values: Tensor) -> Tensor:
    """Reshape (N,) to (N, 1, 1, 1, 1) for broadcasting."""
    return values.view(-1, 1, 1, 1, 1)


def frozen(autoencoder: Autoencoder) -> Autoencoder:
    autoencoder.requires_grad_(False)  # type: ignore[attr-defined]
    return autoencoder
