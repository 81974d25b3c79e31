"""Light decoder of a Wan base: a restorer of the low-quality input, and detail from the base's latents on top.

Wan's own decoder makes every pixel from the latents at full resolution. This one starts from the canvas and works at a
quarter of its size, as the bundled model's does. With few denoising steps, Wan's decoder takes most of the time.
"""

from __future__ import annotations

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import Geometry
from patchvsr.models.mini.blocks import convolve
from patchvsr.models.mini.detail import CELL_PX, DetailDecoder
from patchvsr.models.mini.restorer import Features, Restorer, added

Carried = tuple[State, Features]


class LightDecoder(ModelMixin, ConfigMixin):
    """Decode latents of Wan's autoencoder, with the canvas as a reference; causal, with a finite receptive field.

    Both parts end in zero-initialised convolutions: an untrained light decoder returns the canvas exactly.

    Config:
        latent_channels: of the base.
        cell_px: side of a latent cell in pixels, 8 (Wan2.1) or 16 (Wan2.2). Latents of 16 are unfolded to 8, with a
            quarter of the channels.
        restorer_channels, num_restorer_blocks: size of the restorer, see `Restorer`.
        latent_hidden, num_decoder_blocks: size of the decoder of detail, see `DetailDecoder`.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        cell_px: int = 8,
        restorer_channels: int = 64,
        num_restorer_blocks: int = 10,
        latent_hidden: int = 96,
        num_decoder_blocks: int = 6,
    ):
        super().__init__()
        self.unfold = cell_px // CELL_PX
        self.restorer = Restorer(restorer_channels, num_restorer_blocks)
        self.detail = DetailDecoder(
            latent_channels // self.unfold**2, latent_hidden, restorer_channels, num_decoder_blocks
        )

    @property
    def halo_px(self) -> int:
        """Pixels around a tile that its decoded pixels depend on."""
        return self.restorer.trunk_halo_px + self.detail.halo_px

    def forward(
        self, latents: Tensor | None, reference: Tensor, carried: Carried | None, *, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Carried]:
        """Decode the next frames of a clip, any number, after those that led to `carried` (None: the first).

        latents: (N, C, T, h, w), the latent frames that these frames belong to; None for none. Others: see
        `Autoencoder.decode`. carried: used up.

        Returns the restored frames (N, 3, F, H, W), the same with the detail of the latents, and what the frames after
        these start from.
        """
        state, of_detail = carried or (None, {})
        embedding = self.restorer.embed(restoration, scale)
        features, after = self.restorer.trunk(reference, state, embedding)
        restored = added(reference, convolve(features, self.restorer.head))
        if latents is None:
            return restored, restored, (after, {})
        frames = range(after.num_frames - reference.shape[2], after.num_frames)
        cells = F.pixel_shuffle(latents.transpose(1, 2), self.unfold).transpose(1, 2)  # (N, 16 or 12, T, H/8, W/8)
        detail, handed_on = self.detail(cells.to(features.dtype), features, embedding, frames, of_detail)
        return restored, added(restored, detail), (after, handed_on)


def new_light_decoder(geometry: Geometry) -> LightDecoder:
    """Return an untrained light decoder for latents of this geometry: 2.3 M parameters, 1.3 M of them the restorer."""
    return LightDecoder(latent_channels=geometry.latent_channels, cell_px=geometry.spatial_factor)
