"""Pixel losses shared by the stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from patchvsr.models.mini.detail import BandEnergies


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Compute the Charbonnier loss: sharper than MSE, and with a gradient that vanishes at zero, unlike L1."""
    return ((output - target).float().square() + epsilon**2).sqrt().mean()


def spectral(output: Tensor, target: Tensor) -> Tensor:
    """Compute the L1 distance of the spectra of videos (N, 3, F, H, W), which weights all frequencies equally."""
    return _MeanAmplitude.apply((output - target).float())


def band_energy_distance(output: Tensor, target: Tensor) -> Tensor:
    """Compare how strong detail is in cells of 8x8 pixels of videos (N, 3, F, H, W), wherever in a cell it lies.

    L1 distance of the logarithms of `BandEnergies`, frame by frame.
    """
    one, other = (
        BandEnergies.logarithms(BandEnergies.of_frames(video.transpose(1, 2).flatten(0, 1)))
        for video in (output, target)
    )
    return (one - other).abs().mean()


class _MeanAmplitude(torch.autograd.Function):
    """Mean of the moduli of the half spectra of frames (..., H, W).

    autograd's own gradient of `rfft2` fills up the half that is left out and transforms complex numbers, which takes
    twice the time of the forward pass.
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(frames, norm="ortho")
        amplitude = spectrum.abs()
        # The gradient of a modulus is the direction; columns that stand for two get half of it from `irfft2`.
        direction = spectrum.div_(amplitude.clamp(min=torch.finfo(amplitude.dtype).tiny))
        direction[..., 1 : (frames.shape[-1] + 1) // 2] /= 2
        ctx.save_for_backward(direction)
        ctx.width = frames.shape[-1]
        return amplitude.mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (direction,) = ctx.saved_tensors
        size = direction.shape[-2], ctx.width
        return torch.fft.irfft2(direction, s=size, norm="ortho") * (gradient / direction.numel())
