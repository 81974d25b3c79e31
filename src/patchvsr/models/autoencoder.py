"""What the pipeline asks of an autoencoder, so that the bundled one and Wan's are interchangeable."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from patchvsr.models.geometry import Geometry


@runtime_checkable  # diffusers checks a pipeline's parts against their annotations
class Autoencoder(Protocol):
    """Pixels in [-1, 1] to latents and back. Clips have 4k+1 frames and sides in whole latent cells."""

    decoder: nn.Module  # what the last stage of training tunes
    takes_restoration: bool  # whether `decode` makes use of it, and there is an estimate

    @property
    def geometry(self) -> Geometry: ...
    @property
    def encoder_halo_px(self) -> int: ...
    @property
    def decoder_halo_px(self) -> int: ...
    @property
    def device(self) -> torch.device: ...

    def encode(self, video: Tensor) -> Tensor:
        """(N, 3, F, H, W) -> latents (N, C, T, h, w) of about unit variance."""
        ...

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """(N, 3, F, H, W) low-quality canvas -> what the transformer sees of it (N, condition_channels, T, h, w)."""
        ...

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """How degraded clips are, as a logit each (N,): canvas (N, 3, F, H, W) in [-1, 1], enlarged by `scale` (N,)."""
        ...

    def decode(self, latents: Tensor, reference: Tensor, *, restoration: Tensor, scale: Tensor) -> Tensor:
        """Latents and the low-quality canvas -> (N, 3, F, H, W).

        An implementation may ignore the canvas, its degradation (N,), 0 to 1, and its scale (N,).
        """
        ...
