"""Bundled autoencoder: latents of the detail that the feed-forward restorer leaves out.

The restorer adds to the canvas what can be inferred from it; `encode` describes what is then still missing, and
`decode` adds it. Without latents (0 steps) the restorer's output is the result. Latent cells cover 8x8 pixels and 4
frames, as those of Wan2.1, and the first frame has a cell of its own.

Everything is causal in time and has a finite receptive field, so tiles cut with the halo that is declared equal the
whole, and streamed frames equal the clip.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import TEMPORAL_FACTOR, Geometry
from patchvsr.models.mini.blocks import as_frames, complete_cells, convolve, first_repeated
from patchvsr.models.mini.detail import CELL_PX, BandEnergies, ConditionEncoder, DetailDecoder
from patchvsr.models.mini.restorer import INDEPENDENT_VOTES, Restorer, added

# Names of the decoder's features in a state, beside those of the restorer.
_DETAIL = "detail."
# What the restorer is told where its features become conditions, before the degradation of the input is estimated: a
# restoration and a scale.
_UNKNOWN = 0.5, 4.0


class ResidualAutoencoder(ModelMixin, ConfigMixin):
    """The restorer, the decoder of what is missing from its output, and the encoder of conditions.

    Latents are the `BandEnergies` of what is missing, which need no trained encoder. With `latent_channels=0` there is
    nothing but the restorer: the autoencoder of a model without a transformer.
    """

    takes_restoration = True
    streaming = True
    tile_px = 3840
    encoder_tile_bytes = 100
    independent_votes = INDEPENDENT_VOTES

    @register_to_config
    def __init__(
        self,
        latent_channels: int = BandEnergies.count,
        condition_channels: int = 64,
        restorer_channels: int = 64,
        num_restorer_blocks: int = 10,
        condition_hidden: int = 96,
        latent_hidden: int = 96,
        num_decoder_blocks: int = 6,
    ):
        super().__init__()
        if latent_channels not in (0, BandEnergies.count):
            raise ValueError(f"latent_channels is {latent_channels}: {BandEnergies.count} are needed, or 0")
        self.restorer = Restorer(restorer_channels, num_restorer_blocks)
        if not latent_channels:
            return
        self.decoder = DetailDecoder(latent_channels, latent_hidden, restorer_channels, num_decoder_blocks)
        self.condition_encoder = ConditionEncoder(restorer_channels, condition_hidden, condition_channels)

    @property
    def encodes_residual(self) -> bool:
        return self.config.latent_channels > 0

    @property
    def geometry(self) -> Geometry:
        return Geometry(CELL_PX, self.config.latent_channels, self.config.condition_channels)

    @property
    def encoder_halo_px(self) -> int:
        """Pixels around a tile that its conditions depend on, rounded up to whole cells."""
        if not self.encodes_residual:
            return 0
        return _round_up(self.restorer.trunk_halo_px + self.condition_encoder.halo_px)

    @property
    def decoder_halo_px(self) -> int:
        """Pixels around a tile that its decoded pixels depend on, rounded up to whole cells."""
        if not self.encodes_residual:
            return _round_up(self.restorer.halo_px)
        return _round_up(self.restorer.trunk_halo_px + self.decoder.halo_px)

    @property
    def lookback_frames(self) -> int:
        """Earlier frames that a decoded frame depends on; without latents, the restorer's are enough."""
        of_detail = self.decoder.lookback_frames if self.encodes_residual else 0
        return self.restorer.lookback_frames + of_detail

    def decoding_bytes(self, *, with_latents: bool) -> tuple[int, int]:
        return (170, 70) if with_latents else (110, 40)

    def unfreeze_decoder(self) -> None:
        """Make the decoder of detail trainable; the restorer stays as it is."""
        self.decoder.requires_grad_(True)

    def encode(
        self,
        video: Tensor,
        *,
        reference: Tensor | None = None,
        restoration: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Describe what is missing from the restored canvas, in video (N, 3, F, H, W) in [-1, 1]: (N, 9, T, H/8, W/8).

        reference, restoration, scale: see `decode`.

        Raises ValueError unless F = 4k+1, and H and W are multiples of 8.
        """
        assert reference is not None and restoration is not None and scale is not None
        self.geometry.check(video)
        restored, _ = self.restorer(reference, None, restoration=restoration, scale=scale)
        return self.latents(video, restored)

    def latents(self, video: Tensor, restored: Tensor) -> Tensor:
        """Describe what is missing in video, given its restored canvas."""
        energies = BandEnergies.of_frames(as_frames(video - restored, torch.float32)).unflatten(0, (-1, video.shape[2]))
        cells = torch.cat([first_repeated(energies), energies], dim=1).unflatten(1, (-1, TEMPORAL_FACTOR)).mean(dim=2)
        return BandEnergies.latents(cells.transpose(1, 2))

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """Encode the low-quality canvas (N, 3, F, H, W) to conditions (N, C', T, h, w), by the restorer's features.

        Raises ValueError as `encode` does.
        """
        self.geometry.check(canvas)
        return self.encode_condition_next(canvas, None)[0]

    def encode_condition_next(self, canvas: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Encode the next frames of a canvas (N, 3, F, H, W), any number, after those that led to `state`.

        Returns conditions (N, C', T, h, w) of the latent frames that are complete, of which there may be none, and the
        state that the frames after these start from.
        """
        embedding = self.restorer.embed(*(canvas.new_tensor([value], dtype=torch.float32) for value in _UNKNOWN))
        features, seen = self.restorer.trunk(canvas, state, embedding)
        new = self.condition_encoder.frame_features(features).unflatten(0, (-1, canvas.shape[2]))
        complete, waiting = complete_cells(new, state)
        after = State(seen.num_frames, seen.features | waiting.features)
        if not complete.shape[1]:
            return new.new_empty(len(new), self.geometry.condition_channels, 0, *new.shape[-2:]), after
        return self.condition_encoder.cells(complete), after

    def latents_of(self, condition: Tensor) -> Tensor:
        """Return the latents (C, T, h, w) of a canvas of these conditions: nothing but what the restorer adds."""
        nothing = condition.new_zeros(1, self.config.latent_channels, *condition.shape[1:])
        return BandEnergies.latents(nothing)[0]

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Estimate the degradation of each clip as a logit (N,), see `Restorer.estimate`."""
        return self.restorer.estimate(canvas, scale)

    def decode(
        self,
        latents: Tensor | None,
        reference: Tensor,
        *,
        restoration: Tensor,
        scale: Tensor,
        detail: Tensor | None = None,
    ) -> Tensor:
        """Decode latents (N, C, T, h, w) and the reference canvas (N, 3, F, H, W) in [-1, 1] to video of its shape.

        latents: None returns what the restorer makes of the canvas. restoration: (N,) degradation of the input, from
        0 (downscaled only) to 1. scale: (N,) canvas size / input size. detail: (N,) share of the latents' detail that
        is added, all of it if not given.

        Raises ValueError as `encode` does.
        """
        self.geometry.check(reference)
        return self.decode_next(latents, reference, None, restoration=restoration, scale=scale, detail=detail)[0]

    def decode_next(
        self,
        latents: Tensor | None,
        reference: Tensor,
        state: State | None,
        *,
        restoration: Tensor,
        scale: Tensor,
        detail: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Decode the next frames of a shot, any number, after those that led to `state`.

        latents: (N, C, T, h, w), the latent frames that these frames belong to. Other arguments: see `decode`.
        state: used up; each feature is freed once a later one replaces it.

        Returns the frames and the state that the frames after these start from.
        """
        embedding = self.restorer.embed(restoration, scale)
        carried = {} if state is None else state.features
        of_detail = {name: carried.pop(name) for name in list(carried) if name.startswith(_DETAIL)}
        video, features, after = self.restored(reference, state, embedding)
        if latents is None:
            return video, after
        frames = range(after.num_frames - reference.shape[2], after.num_frames)
        of_detail = {name.removeprefix(_DETAIL): value for name, value in of_detail.items()}
        video, handed_on = self.with_detail(latents, video, features, embedding, frames, of_detail, share=detail)
        after.features.update({_DETAIL + name: value for name, value in handed_on.items()})
        return video, after

    def restored(self, reference: Tensor, state: State | None, embedding: Tensor) -> tuple[Tensor, Tensor, State]:
        """Return the restored frames, the features they came from, and the state of the frames after these."""
        features, after = self.restorer.trunk(reference, state, embedding)
        return added(reference, convolve(features, self.restorer.head)), features, after

    def with_detail(
        self,
        latents: Tensor,
        video: Tensor,
        features: Tensor,
        embedding: Tensor,
        frames: range,
        carried: dict[str, Tensor],
        *,
        share: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the detail of latents to restored frames, or a share (N,) of it; arguments: see `DetailDecoder`."""
        detail, handed_on = self.decoder(latents.to(features.dtype), features, embedding, frames, carried)
        if share is not None:
            detail = detail * share.to(detail.dtype).repeat_interleave(len(frames)).view(-1, 1, 1, 1)
        return added(video, detail), handed_on


def _round_up(px: int) -> int:
    return -(-px // CELL_PX) * CELL_PX
