"""Conditions of the transformer: latents of the canvas and of the global view, and the position of each patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from patchvsr.models.transformer import PatchConditions
from patchvsr.patches.canvas import crop_box_condition, location_mask
from patchvsr.patches.grid import Box


@dataclass(frozen=True)
class ClipConditions:
    """Conditions of a clip, from which the conditions of its patches are cut.

    canvas_latents: (C, T, H/16, W/16), conditions of the canvas (see `Autoencoder.encode_condition`)
    global_latents: (C, T, hg, wg), conditions of the global view: the whole clip at the base's native size
    noise: (C, T, H/16, W/16), noise for the augmentation of `canvas_latents`
    noise_timestep: 0 to 1000; the paper trains and samples at 200-300
    scale: canvas height / input height
    """

    canvas_latents: Tensor
    global_latents: Tensor
    noise: Tensor
    noise_timestep: float
    scale: float

    def of_patches(self, boxes: Sequence[Box]) -> PatchConditions:
        """Return the conditions of the patches at `boxes`, with noise augmentation (paper, section 3.2)."""
        sigma = self.noise_timestep / 1000
        canvas_hw = (self.canvas_latents.shape[-2], self.canvas_latents.shape[-1])
        global_hw = (self.global_latents.shape[-2], self.global_latents.shape[-1])
        clean = torch.stack([self.canvas_latents[box.slices] for box in boxes])
        noise = torch.stack([self.noise[box.slices] for box in boxes])
        return PatchConditions(
            patch_latents=(1 - sigma) * clean + sigma * noise,
            global_latents=torch.stack([self.global_latents[:, box.t0 : box.t1] for box in boxes]),
            location_mask=torch.stack([location_mask(box, canvas_hw, global_hw) for box in boxes]),
            scale=torch.full((len(boxes),), self.scale),
            crop_box=torch.tensor([crop_box_condition(box, canvas_hw) for box in boxes]),
            noise_timestep=torch.full((len(boxes),), float(self.noise_timestep)),
        )
