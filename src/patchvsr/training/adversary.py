"""Patch discriminator on frames, with generator and discriminator losses computed in one step."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Score frames, concatenated with their canvas, per patch of about 60 pixels (PatchGAN).

    Conditioning on the canvas makes it judge the added detail, not the scene.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        widths = (6, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(inner, outer, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, video: Tensor, canvas: Tensor) -> Tensor:  # (N, 3, F, H, W) -> (N*F, 1, h, w)
        frames = torch.cat([video, canvas], dim=1).transpose(1, 2).flatten(0, 1)
        return self.layers(frames)


class Adversary(nn.Module):
    """Hinge losses of generator and discriminator, summed and minimised by one optimiser.

    Gradients do not cross between the two: the discriminator loss uses detached outputs, and the generator loss uses
    detached discriminator weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = Discriminator()

    def losses(self, output: Tensor, target: Tensor, canvas: Tensor, *, weight: float) -> dict[str, Tensor]:
        """Return both losses for `output` and `target`, given the `canvas`, each (N, 3, F, H, W) in [-1, 1]."""
        output, target, canvas = (clip.float() for clip in (output, target, canvas))
        real = self.discriminator(target, canvas)
        fake = self.discriminator(output.detach(), canvas)
        fixed = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        fixed |= {name: value.clone() for name, value in self.discriminator.named_buffers()}
        judged = functional_call(self.discriminator, fixed, (output, canvas))
        return {
            "discriminator": F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
            "adversarial": -weight * judged.mean(),
        }
