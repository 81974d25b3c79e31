"""Pixel losses shared by the stages."""

from __future__ import annotations

import torch
from torch import Tensor


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Compute the Charbonnier loss: sharper than MSE, and with a gradient that vanishes at zero, unlike L1."""
    return ((output - target).float().square() + epsilon**2).sqrt().mean()


def spectral(output: Tensor, target: Tensor) -> Tensor:
    """Compute the L1 distance of the spectra of videos (N, 3, F, H, W), which weights all frequencies equally."""
    difference = torch.fft.rfft2((output - target).float(), norm="ortho")
    return difference.abs().mean()
