"""Autoencoder interface that the pipeline relies on; the bundled autoencoder and Wan's both implement it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from patchvsr.models.geometry import Geometry


@runtime_checkable  # diffusers checks pipeline components against their annotations
class Autoencoder(Protocol):
    """Encode pixels in [-1, 1] to latents and decode them; clips have 4k+1 frames and sides in whole latent cells."""

    # From Python 3.12 on, the check does not see submodules: only what is defined on the class may be listed here.
    takes_restoration: bool  # whether `decode` uses `restoration` and `estimate_restoration` is implemented

    @property
    def geometry(self) -> Geometry: ...
    @property
    def encoder_halo_px(self) -> int: ...
    @property
    def decoder_halo_px(self) -> int: ...
    @property
    def device(self) -> torch.device: ...

    def unfreeze_decoder(self) -> None:
        """Make the decoder trainable, for the last training stage."""
        ...

    def encode(self, video: Tensor) -> Tensor:
        """Encode video (N, 3, F, H, W) to latents (N, C, T, h, w) of approximately unit variance."""
        ...

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """Encode the low-quality canvas (N, 3, F, H, W) to conditions (N, condition_channels, T, h, w)."""
        ...

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Estimate the degradation of each clip as a logit (N,).

        canvas: (N, 3, F, H, W) in [-1, 1]. scale: (N,) canvas size / input size.
        """
        ...

    def decode(self, latents: Tensor, reference: Tensor, *, restoration: Tensor, scale: Tensor) -> Tensor:
        """Decode latents to video (N, 3, F, H, W) in [-1, 1].

        reference: low-quality canvas (N, 3, F, H, W). restoration: (N,) its degradation, 0 to 1. scale: (N,) canvas
        size / input size. An implementation may ignore all three.
        """
        ...
