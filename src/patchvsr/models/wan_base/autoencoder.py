"""Wan's own autoencoder behind our interface: latents that a Wan base knows, decoded without the input."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  (diffusers' loader looks for it in this module)
from torch import Tensor

from patchvsr.models.geometry import Geometry

HALO_CELLS = 8


class WanAutoencoder(AutoencoderKLWan):
    """`AutoencoderKLWan` with the interface of `Autoencoder`; reads the `vae` folder of any Wan base as it is.

    Wan2.1: a cell of 16 channels covers 8x8 pixels and 4 frames; Wan2.2-TI2V-5B: 48 channels, 16x16 pixels.
    Latents are the mode of the posterior, so encoding draws no random numbers, normalised as in `WanPipeline`.

    Tiles only come near the whole. Beyond a halo of 8 cells the convolutions add less than 0.01 of a standard
    deviation (random weights of the real depth), but the middle block's attention sees the whole frame, so larger
    tiles are better ones.
    """

    takes_restoration = False

    @property
    def geometry(self) -> Geometry:
        # Its temporal factor is fixed: diffusers' class feeds one frame, then four at a time, whatever its config says.
        channels = self.config.z_dim
        return Geometry(self.config.scale_factor_spatial, latent_channels=channels, condition_channels=channels)

    @property
    def encoder_halo_px(self) -> int:
        return HALO_CELLS * self.geometry.spatial_factor

    @property
    def decoder_halo_px(self) -> int:
        return HALO_CELLS * self.geometry.spatial_factor

    def encode(self, video: Tensor) -> Tensor:
        """(N, 3, F, H, W) in [-1, 1], F = 4k+1, sides in whole cells -> normalised latents (N, C, k+1, h, w).

        Raises ValueError for other sizes: diffusers' class would drop the rest of the frames and pixels.
        """
        self.geometry.check(video)
        mode, _ = self._encode(video.to(self.dtype)).chunk(2, dim=1)
        mean, std = self._statistics(mode)
        return ((mode.float() - mean) / std).to(mode.dtype)

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """What the transformer sees of a low-quality canvas: its latents."""
        return self.encode(canvas)

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        raise NotImplementedError("the decoder of Wan knows nothing of the input")

    def decode(
        self, latents: Tensor, reference: Tensor, *, restoration: Tensor | None = None, scale: Tensor | None = None
    ) -> Tensor:
        """Normalised latents -> video of the reference's shape and type; nothing else of the input is used.

        Raises ValueError where latents and reference do not cover the same frames and pixels.
        """
        self.geometry.check(reference)
        num_frames, height, width = reference.shape[2:]
        cells = self.geometry.latent_shape(num_frames, height, width)
        if tuple(latents.shape[2:]) != cells:
            raise ValueError(f"got latents of {tuple(latents.shape[2:])} cells; the reference covers {cells}")
        mean, std = self._statistics(latents)
        video = self._decode((latents.float() * std + mean).to(self.dtype)).sample
        return video.to(reference.dtype)

    def forward(self, video: Tensor, reference: Tensor) -> Tensor:
        return self.decode(self.encode(video), reference)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of Wan's latents, a channel each, float32: (C, 1, 1, 1)."""
        both = torch.tensor([self.config.latents_mean, self.config.latents_std], device=latents.device)
        mean, std = both.view(2, -1, 1, 1, 1)
        return mean, std
