"""Autoencoder of an adapter with a light decoder: Wan's encoder, and the light decoder in place of Wan's."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import Geometry, cells_of
from patchvsr.models.mini.restorer import INDEPENDENT_VOTES
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.models.wan_base.light_decoder import LightDecoder


class LightAutoencoder(ModelMixin, ConfigMixin):
    """Encode with a base's `WanAutoencoder`, whose decoder is dropped, and decode with a `LightDecoder`.

    Clips are encoded as a whole, so it does not stream; frames are decoded one by one, so that a tile takes the memory
    of one frame.

    Config: the configurations of both.
    """

    takes_restoration = True
    streaming = False
    encodes_residual = False
    tile_px = 3840
    encoder_tile_bytes = WanAutoencoder.encoder_tile_bytes
    independent_votes = INDEPENDENT_VOTES

    @register_to_config
    def __init__(self, encoder_config: dict[str, Any], decoder_config: dict[str, Any]):
        super().__init__()
        self.encoder = _without_decoder(WanAutoencoder.from_config(encoder_config))
        self.decoder = LightDecoder.from_config(decoder_config)

    @classmethod
    def of(cls, base: WanAutoencoder, decoder: LightDecoder) -> LightAutoencoder:
        """Join the autoencoder of a base, which loses its own decoder, and a light decoder.

        Raises ModelError if their latents differ.
        """
        latents = base.geometry.latent_channels, base.geometry.spatial_factor
        expected = decoder.config.latent_channels, decoder.config.cell_px
        if latents != expected:
            raise ModelError(
                f"the light decoder takes latents of {expected[0]} channels in cells of {expected[1]} pixels, "
                f"the base's have {latents[0]} and {latents[1]}: it belongs to another base"
            )
        with torch.device("meta"):  # its parameters are replaced by those of the two
            autoencoder = cls(_settings(base), _settings(decoder))
        autoencoder.encoder, autoencoder.decoder = _without_decoder(base), decoder
        return autoencoder

    @property
    def geometry(self) -> Geometry:
        return self.encoder.geometry

    @property
    def encoder_halo_px(self) -> int:
        return self.encoder.encoder_halo_px

    @property
    def decoder_halo_px(self) -> int:
        """Pixels around a tile that its decoded pixels depend on, rounded up to whole cells."""
        cell_px = self.geometry.spatial_factor
        return -(-self.decoder.halo_px // cell_px) * cell_px

    @property
    def lookback_frames(self) -> int:
        """None before the clip, which is decoded by itself."""
        return 0

    def decoding_bytes(self, *, with_latents: bool) -> tuple[int, int]:
        return 240, 0  # with what frames hand on, which is freed before the next tile

    def unfreeze_decoder(self) -> None:
        """Make the decoder of detail trainable; the restorer stays as it is."""
        self.decoder.detail.requires_grad_(True)

    def encode(
        self,
        video: Tensor,
        *,
        reference: Tensor | None = None,
        restoration: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Encode video, see `WanAutoencoder.encode`."""
        return self.encoder.encode(video)

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """Return the latents of the low-quality canvas, which are the transformer's condition."""
        return self.encoder.encode_condition(canvas)

    def encode_condition_next(self, canvas: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Encode a whole clip, see `encode`."""
        return self.encoder.encode_condition_next(canvas, state)

    def latents_of(self, condition: Tensor) -> Tensor:
        """Return the latents of a canvas from its conditions: they are the same."""
        return self.encoder.latents_of(condition)

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Estimate the degradation of each clip as a logit (N,), see `Restorer.estimate`."""
        return self.decoder.restorer.estimate(canvas, scale)

    def decode(self, latents: Tensor | None, reference: Tensor, *, restoration: Tensor, scale: Tensor) -> Tensor:
        """Decode latents and the reference canvas to video of its shape, see `Autoencoder.decode`.

        Without latents (0 steps) the result is what the restorer makes of the canvas.

        Raises ValueError for lengths other than 4k+1, and for sides that are no whole latent cells.
        """
        self.geometry.check(reference)
        return self.decoder(latents, reference, None, restoration=restoration, scale=scale)[1]

    def decode_next(
        self, latents: Tensor | None, reference: Tensor, state: State | None, *, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, None]:
        """Decode a whole clip frame by frame, see `decode`."""
        self.geometry.check(reference)
        video, carried = torch.empty_like(reference), None
        for number in range(reference.shape[2]):
            cells = None if latents is None else latents[:, :, cells_of(range(number, number + 1))]
            frame = slice(number, number + 1)
            _, video[:, :, frame], carried = self.decoder(
                cells, reference[:, :, frame], carried, restoration=restoration, scale=scale
            )
        return video, None


def _settings(part: ConfigMixin) -> dict[str, Any]:
    """Return the configuration of a part without diffusers' own notes in it, which hold for one way of loading."""
    return {name: value for name, value in part.config.items() if not name.startswith("_")}


def _without_decoder(base: WanAutoencoder) -> WanAutoencoder:
    """Return the autoencoder after dropping what only Wan's own decoding needs: more than half of its weights."""
    for unused in ("decoder", "post_quant_conv"):
        if hasattr(base, unused):
            delattr(base, unused)
    return base
