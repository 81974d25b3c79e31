"""Losses in pixels, shared by the stages."""

from __future__ import annotations

import torch
from torch import Tensor


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Smooth L1: sharper than squared error, and unlike L1 with a gradient that fades at zero."""
    return ((output - target).float().square() + epsilon**2).sqrt().mean()


def spectral(output: Tensor, target: Tensor) -> Tensor:
    """L1 between the Fourier transforms of frames (N, 3, F, H, W): fine detail counts as much as broad shapes."""
    difference = torch.fft.rfft2((output - target).float(), norm="ortho")
    return difference.abs().mean()
