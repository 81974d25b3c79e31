"""Adapt the transformer to the `joint.Velocity` interface: noisy patches and their boxes in, velocities out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from patchvsr.models.transformer import PatchFeatures, PatchVSRTransformer3DModel
from patchvsr.patches.grid import Box
from patchvsr.sampling.conditions import ClipConditions
from patchvsr.sampling.joint import Velocity

# Of features, on the host: those of about 30 patches of Wan2.1-1.3B, a 2K canvas.
KEPT_BYTES = 2 << 30


class PatchVelocity:
    """Predict the velocities of patches of one clip (a `joint.Velocity`).

    Patch and global features depend only on the input. With `reuse_features` those of the first step are kept on the
    host, up to KEPT_BYTES, so that memory does not grow with the canvas; the others are computed at every step. That
    changes no bit. A patch of the bundled model has about 1 MiB of them, one of Wan2.1-1.3B 67 MiB.
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
        self._dtype = transformer.dtype  # asked once: it is looked for in every module
        self.branch_scale = branch_scale
        self.reuse_features = reuse_features
        self._features: dict[Box, PatchFeatures] = {}
        self._room = KEPT_BYTES

    def __call__(self, patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        """Return float32 velocities (N, C, t, h, w) of noisy patches of that shape."""
        if self.device.type == "cpu" and len(boxes) > 1:
            # Matrix products of another batch size round differently, and batching gains nothing on a CPU. Running
            # patches one by one makes the result independent of the batch size, bit for bit.
            pairs = zip(patches.split(1), boxes, strict=True)
            return torch.cat([self(patch, timestep, [box]) for patch, box in pairs])
        features = None
        if self.transformer.has_adapter:
            features = PatchFeatures.cat([self._features_of(box) for box in boxes])
        timesteps = torch.full((len(boxes),), timestep, device=self.device)
        patches = patches.to(self.device, self._dtype)
        return self.transformer(patches, timesteps, features=features, branch_scale=self.branch_scale).sample.float()

    def _features_of(self, box: Box) -> PatchFeatures:
        if box in self._features:
            return self._features[box].to(self.device)
        conditions = self.conditions.of_patches([box]).to(self.device, self._dtype)
        features = self.transformer.encode_conditions(conditions)
        if self.reuse_features and features.nbytes <= self._room:
            self._features[box] = features.to(torch.device("cpu"))
            self._room -= features.nbytes
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
