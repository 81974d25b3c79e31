"""Few-step distillation: the clean estimate at the noise levels of 1 to 4 steps must decode well.

Every objective has pixel losses. Three optional terms are compared in docs/experiments.md:
consistency     match the estimate after one step of the frozen teacher towards the data
                (Song et al., "Consistency Models", eq. 8, in latents)
distribution    follow the difference between the teacher's score and a learned score of the student's output
                (Yin et al., DMD2, section 4.1)
adversarial     discriminator on the decoded crops
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.geometry import TEMPORAL_FACTOR, latent_frames
from patchvsr.models.transformer import PatchFeatures, PatchVSRTransformer3DModel
from patchvsr.training.adversary import Adversary
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import DECODED_CROPS
from patchvsr.training.stages import AdapterStage, Batch, add_noise, by_clip, per_clip, pixel_losses

VELOCITY_WEIGHT, CONSISTENCY_WEIGHT, DISTRIBUTION_WEIGHT = 0.02, 0.1, 0.1


class DistillStage(AdapterStage):
    """Train a few-step student jointly with the decoder, which adapts to the smoothness of its estimates.

    The transformer sees whole patches. The decoder costs as much as the transformer, so it sees crops.
    """

    few_steps = True

    def __init__(self, recipe: Recipe, autoencoder: Autoencoder, transformer: PatchVSRTransformer3DModel):
        super().__init__(recipe, autoencoder, transformer)
        autoencoder.unfreeze_decoder()
        self.teacher = self.score_of_student = self.adversary = None
        if recipe.objective in ("consistency", "distribution"):
            self.teacher = copy.deepcopy(transformer).requires_grad_(False)
        if recipe.objective == "distribution":
            self.score_of_student = copy.deepcopy(transformer)
        if recipe.objective == "adversarial":
            self.adversary = Adversary(recipe.adversary)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        batch = self.with_latents(batch)
        noisy, target = add_noise(batch["latents"], batch)
        features = self.features(batch)
        velocity = self.transformer(noisy, 1000 * batch["sigma"], features=features).sample.float()
        estimate = noisy - per_clip(batch["sigma"]) * velocity
        # At sigma 1 this loss would pull the estimate to the mean of all fitting latents, which has no detail.
        errors = (1 - per_clip(batch["sigma"])) * (velocity - target).square()
        losses = {"velocity": VELOCITY_WEIGHT * errors.mean()} | self._decoded(estimate, batch)
        if self.recipe.objective == "consistency":
            losses |= self._consistency(noisy, estimate, batch, features)
        if self.recipe.objective == "distribution":
            losses |= self._distribution(estimate, batch)
        return losses

    def _decoded(self, estimate: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compute pixel losses of decoded crops."""
        origins = batch["crops"].tolist()
        crops = [self._crop(estimate, batch, [patch[number] for patch in origins]) for number in range(DECODED_CROPS)]
        latents, canvas, hq = (torch.cat(parts) for parts in zip(*crops, strict=True))
        known = (batch[name].repeat(DECODED_CROPS) for name in ("restoration", "scale"))
        output = torch.cat(by_clip(self._decode, latents, canvas, *known))
        shift = batch["shift"].repeat(DECODED_CROPS, 1)
        return pixel_losses(output, hq, canvas, self.recipe, self.adversary, shift)

    def _decode(self, latents: Tensor, canvas: Tensor, restoration: Tensor, scale: Tensor) -> Tensor:
        return self.autoencoder.decode(latents, canvas, restoration=restoration, scale=scale)

    def _crop(self, latents: Tensor, batch: Batch, origins: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the same crop of `decode_size` pixels and `decode_frames` frames from latents, canvas and original."""
        factor = self.autoencoder.geometry.spatial_factor
        side = min(self.recipe.decode_size // factor, latents.shape[-1])
        frames = min(latent_frames(self.recipe.decode_frames), latents.shape[2])
        parts = []
        for index, (t, y, x) in enumerate(origins):
            cells = (index, ..., slice(t, t + frames), slice(y, y + side), slice(x, x + side))
            # A crop starts at the last frame of its first cell, because the decoder expects a single frame there.
            first, last = TEMPORAL_FACTOR * t, TEMPORAL_FACTOR * (t + frames - 1) + 1
            rows, columns = (slice(start * factor, (start + side) * factor) for start in (y, x))
            pixels = (index, ..., slice(first, last), rows, columns)
            parts.append((latents[cells], batch["canvas"][pixels].float(), batch["hq"][pixels].float()))
        cut, canvas, hq = (torch.stack(part) for part in zip(*parts, strict=True))
        return cut, canvas, hq

    def _consistency(self, noisy: Tensor, estimate: Tensor, batch: Batch, features: PatchFeatures) -> dict[str, Tensor]:
        assert self.teacher is not None
        sigma = batch["sigma"]
        later = (sigma - 1 / 4).clamp_min(0)  # the student's next noise level, or 0
        with torch.no_grad():
            teaching = self.teacher.encode_conditions(self.conditions(batch))
            velocity = self.teacher(noisy, 1000 * sigma, features=teaching).sample.float()
            closer = noisy + per_clip(later - sigma) * velocity
            target = closer - per_clip(later) * self.transformer(closer, 1000 * later, features=features).sample.float()
        return {"consistency": CONSISTENCY_WEIGHT * F.mse_loss(estimate, target)}

    def _distribution(self, estimate: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Move the student along the difference of two scores, and train the second score on its output."""
        assert self.teacher is not None and self.score_of_student is not None
        again = {"sigma": 0.02 + 0.96 * batch["second_sigma"], "noise": batch["second_noise"]}
        noisy, target = add_noise(estimate.detach(), again)
        conditions, timestep = self.conditions(batch), 1000 * again["sigma"]
        student = self.score_of_student
        fake = student(noisy, timestep, features=student.encode_conditions(conditions)).sample.float()
        with torch.no_grad():
            real = self.teacher(noisy, timestep, features=self.teacher.encode_conditions(conditions)).sample.float()
            direction = per_clip(again["sigma"]) * (real - fake)  # real to fake clean estimate
            size = (estimate - (noisy - per_clip(again["sigma"]) * real)).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
            aim = estimate - direction / size.clamp_min(1e-3)
        return {
            "distribution": DISTRIBUTION_WEIGHT * F.mse_loss(estimate, aim),
            "score of student": F.mse_loss(fake, target),
        }
