"""Estimate the degradation of a clip with a small network on the spectrum of its canvas."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchvsr.models.mini.blocks import VectorLinear, scale_feature

BLOCK_PX = 16
HIDDEN = 128
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # luma weights, BT.601


class RestorationEstimator(nn.Module):
    """Classify degradation from 16x16 DCT energies of luma, one colour difference and the temporal luma difference.

    Blur removes high frequencies, noise adds them, and codecs add them irregularly. Energies are pooled over
    the clip twice: the mean of the logarithms (typical energy) and the logarithm of the mean (outliers). A
    convolutional network on pixels had learned nothing after 400 steps; see docs/experiments.md.
    """

    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Sequential(VectorLinear(6 * BLOCK_PX**2 + 1, HIDDEN), nn.SiLU(), VectorLinear(HIDDEN, 1))

    def forward(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Return logits (N,) for a canvas (N, 3, F, H, W) in [-1, 1], F >= 2, and its scale (N,)."""
        with torch.autocast(canvas.device.type, enabled=False):
            known = torch.cat([_energies(canvas.float()) / 4 - 1, scale_feature(scale)[:, None]], dim=1)
        return self.judge(known)[:, 0]


def _energies(canvas: Tensor) -> Tensor:
    """Return log energies of all DCT coefficients, pooled both ways, (N, 6 * 256), on the 8-bit scale."""
    levels = 127.5 * canvas
    luma = RED * levels[:, 0] + GREEN * levels[:, 1] + BLUE * levels[:, 2]  # (N, F, H, W)
    planes = luma, levels[:, 2] - luma, luma.diff(dim=1)
    usual, standing_out = [], []
    for plane in planes:
        energy = _cosine_transform(plane).square_()  # (N, F, 256, h, w): large, so it is worked on in place
        standing_out.append((energy.mean(dim=(1, 3, 4)) + 0.1).log())
        usual.append(energy.add_(0.1).log_().mean(dim=(1, 3, 4)))
    return torch.cat([*usual, *standing_out], dim=1)


def _cosine_transform(plane: Tensor) -> Tensor:
    """Apply a DCT-II to half-overlapping 16x16 blocks: (N, F, H, W) -> (N, F, 256, h, w)."""
    place = torch.arange(BLOCK_PX, device=plane.device, dtype=plane.dtype)
    waves = torch.cos(math.pi / BLOCK_PX * (place[None] + 0.5) * place[:, None]) * math.sqrt(2 / BLOCK_PX)
    waves[0] /= math.sqrt(2)
    patterns = (waves[:, None, :, None] * waves[None, :, None, :]).reshape(BLOCK_PX**2, 1, BLOCK_PX, BLOCK_PX)
    blocks = F.conv2d(plane.flatten(0, 1).unsqueeze(1), patterns, stride=BLOCK_PX // 2)
    return blocks.unflatten(0, plane.shape[:2])
