"""Adapt the transformer to the `joint.Velocity` interface: noisy patches and their boxes in, velocities out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from patchvsr.models.transformer import PatchFeatures, PatchVSRTransformer3DModel
from patchvsr.patches.grid import Box
from patchvsr.sampling.conditions import ClipConditions
from patchvsr.sampling.joint import Velocity


class PatchVelocity:
    """Predict the velocities of patches of one clip (a `joint.Velocity`).

    Patch and global features depend only on the input. With `reuse_features` they are cached at the first step, about
    4 MiB per patch for the bundled model, less than the pixels of the patch. Otherwise they are recomputed.
    """

    def __init__(
        self,
        transformer: PatchVSRTransformer3DModel,
        conditions: ClipConditions,
        *,
        device: torch.device,
        branch_scale: float = 1.0,
        reuse_features: bool = True,
    ):
        self.transformer, self.conditions, self.device = transformer, conditions, device
        self.branch_scale = branch_scale
        self.reuse_features = reuse_features
        self._features: dict[Box, PatchFeatures] = {}

    def __call__(self, patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        """Return float32 velocities (N, C, t, h, w) of noisy patches of that shape."""
        if self.device.type == "cpu" and len(boxes) > 1:
            # Matrix products of another batch size round differently, and batching gains nothing on a CPU. Running
            # patches one by one makes the result independent of the batch size, bit for bit.
            pairs = zip(patches.split(1), boxes, strict=True)
            return torch.cat([self(patch, timestep, [box]) for patch, box in pairs])
        features = PatchFeatures.cat([self._features_of(box) for box in boxes])
        timesteps = torch.full((len(boxes),), timestep, device=self.device)
        patches = patches.to(self.device, self.transformer.dtype)
        return self.transformer(patches, timesteps, features=features, branch_scale=self.branch_scale).sample.float()

    def _features_of(self, box: Box) -> PatchFeatures:
        if box in self._features:
            return self._features[box]
        conditions = self.conditions.of_patches([box]).to(self.device, self.transformer.dtype)
        features = self.transformer.encode_conditions(conditions)
        if self.reuse_features:
            self._features[box] = features
        return features


class NeededVelocity:
    """Predict only the velocities that a result depends on; the others are zero.

    needed: boxes by timestep, see `needed_boxes`.
    """

    def __init__(self, velocity: Velocity, needed: Mapping[float, Collection[Box]]):
        self.velocity, self.needed = velocity, needed

    def __call__(self, patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        """Return float32 velocities (N, C, t, h, w) of noisy patches of that shape."""
        velocities = torch.zeros(patches.shape, dtype=torch.float32)
        places = [place for place, box in enumerate(boxes) if box in self.needed[timestep]]
        if places:
            made = self.velocity(patches[places], timestep, [boxes[place] for place in places])
            velocities[places] = made.float().to(velocities.device)
        return velocities
