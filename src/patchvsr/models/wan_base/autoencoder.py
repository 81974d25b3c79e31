"""Wan's autoencoder behind the `Autoencoder` interface. Its decoder does not use the low-quality input."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  (diffusers' loader looks for it in this module)
from torch import Tensor

from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import Geometry

HALO_CELLS = 8


class WanAutoencoder(AutoencoderKLWan):
    """`AutoencoderKLWan` with the `Autoencoder` interface; loads the `vae` folder of any Wan base unchanged.

    Wan2.1: a latent cell has 16 channels and covers 8x8 pixels and 4 frames. Wan2.2-TI2V-5B: 48 channels, 16x16 pixels.
    Latents are the posterior mode, so encoding is deterministic. They are normalised as in `WanPipeline`.

    Tiled results approximate the whole but do not equal it. Beyond a halo of 8 cells the convolutions contribute less
    than 0.01 standard deviations (random weights at the real depth), but the attention of the middle block spans the
    whole frame, so larger tiles are more accurate.
    """

    takes_restoration = False
    streaming = False  # its features are as large as 100 frames, too many to keep for a whole frame in tiles
    encodes_residual = False
    tile_px = 512
    encoder_tile_bytes = 9_000  # on a CPU (benchmarks/bases.py)
    independent_votes = 1.0

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

    @property
    def lookback_frames(self) -> int:
        """None before the clip, which is decoded by itself."""
        return 0

    def decoding_bytes(self, *, with_latents: bool) -> tuple[int, int]:
        return (13_500, 0) if with_latents else (0, 0)  # on a CPU (benchmarks/bases.py)

    def unfreeze_decoder(self) -> None:
        """Make the decoder trainable."""
        self.decoder.requires_grad_(True)

    def encode(
        self,
        video: Tensor,
        *,
        reference: Tensor | None = None,
        restoration: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Encode video (N, 3, F, H, W) in [-1, 1], F = 4k+1, to normalised latents (N, C, k+1, h, w).

        Raises ValueError for other lengths, and for sides that are no multiples of `spatial_factor`: diffusers' class
        would silently drop the remaining frames and pixels.
        """
        self.geometry.check(video)
        mode, _ = self._encode(video.to(self.dtype)).chunk(2, dim=1)
        mean, std = self._statistics(mode)
        return ((mode.float() - mean) / std).to(mode.dtype)

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """Return the latents of the low-quality canvas, which are the transformer's condition."""
        return self.encode(canvas)

    def encode_condition_next(self, canvas: Tensor, state: State | None) -> tuple[Tensor, None]:
        """Encode a whole clip, see `encode`."""
        return self.encode(canvas), None

    def latents_of(self, condition: Tensor) -> Tensor:
        """Return the latents of a canvas from its conditions: they are the same."""
        return condition

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        raise NotImplementedError("Wan's decoder does not use the input, so there is no restoration to estimate")

    def decode(
        self,
        latents: Tensor | None,
        reference: Tensor,
        *,
        restoration: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Decode normalised latents to video with the shape and dtype of `reference`, whose values are ignored.

        Without latents (0 steps) the result is the reference: Wan's decoder infers nothing from it.

        Raises ValueError if latents and reference do not cover the same frames and pixels.
        """
        self.geometry.check(reference)
        if latents is None:
            return reference
        num_frames, height, width = reference.shape[2:]
        cells = self.geometry.latent_shape(num_frames, height, width)
        if tuple(latents.shape[2:]) != cells:
            raise ValueError(f"got latents of {tuple(latents.shape[2:])} cells; the reference covers {cells}")
        mean, std = self._statistics(latents)
        video = self._decode((latents.float() * std + mean).to(self.dtype)).sample
        return video.to(reference.dtype)

    def decode_next(
        self, latents: Tensor | None, reference: Tensor, state: State | None, *, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, None]:
        """Decode a whole clip, see `decode`."""
        return self.decode(latents, reference), None

    def forward(self, video: Tensor, reference: Tensor) -> Tensor:
        return self.decode(self.encode(video), reference)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each latent channel, float32 (C, 1, 1, 1)."""
        both = torch.tensor([self.config.latents_mean, self.config.latents_std], device=latents.device)
        mean, std = both.view(2, -1, 1, 1, 1)
        return mean, std
