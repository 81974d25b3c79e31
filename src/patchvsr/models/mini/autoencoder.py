"""Bundled autoencoder: compact latents for the transformer, and a decoder that predicts a residual to the input.

The decoder takes the bicubic low-quality canvas as a *reference* in addition to the latents, and adds its output to
it. Its last convolution is zero-initialised, so an untrained decoder returns the canvas exactly. Zero latents (latents
are dropped at random in training) are a valid input: this is the feed-forward mode of `num_inference_steps=0`.

The geometry is that of Wan2.2-TI2V-5B: a latent cell covers 16x16 pixels and 4 frames, and the first frame has a cell
of its own. The model is causal in time and has a finite receptive field in space (`encoder_halo_px`,
`decoder_halo_px`), so processing tiles cut with that halo equals processing the whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import TEMPORAL_FACTOR, Geometry, cells_of
from patchvsr.models.mini.blocks import (
    FOLD,
    Downsample2x,
    FoldedConvolution,
    ResidualBlock,
    as_frames,
    complete_cells,
    convolve,
    convolve_leaky_relu,
    first_repeated,
)
from patchvsr.models.mini.decoder import Decoder
from patchvsr.models.mini.estimator import RestorationEstimator

SPATIAL_FACTOR = 16


class Encoder(nn.Module):
    """Encode frames to unnormalised latents at 1/16 of their size."""

    def __init__(self, latent_channels: int, channels: tuple[int, int, int]):
        super().__init__()
        quarter, eighth, sixteenth = channels
        self.stem = FoldedConvolution(quarter)
        self.block4 = ResidualBlock(quarter)
        self.down8 = Downsample2x(quarter, eighth)
        self.block8 = ResidualBlock(eighth)
        self.down16 = Downsample2x(eighth, sixteenth)
        self.fold_time = nn.Conv2d(TEMPORAL_FACTOR * sixteenth, sixteenth, 1)
        self.block16 = ResidualBlock(sixteenth)
        self.head = nn.Conv2d(sixteenth, latent_channels, 1)

    @property
    def halo_px(self) -> int:
        return FOLD * (1 + ResidualBlock.radius) + 8 * ResidualBlock.radius + 16 * ResidualBlock.radius

    def frame_features(self, frames: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, C, H/16, W/16)
        x = self.block4(self.stem(frames))
        x = self.block8(self.down8(x))
        return self.down16(x)

    def latents(self, features: Tensor) -> Tensor:  # (N, 4, C, h, w) -> (N, C', h, w)
        x = convolve_leaky_relu(features.flatten(1, 2), self.fold_time)
        return convolve(self.block16(x), self.head)


class MiniAutoencoder(ModelMixin, ConfigMixin):
    """Encoder to latents of 16x16x4 cells, and a reference-guided decoder.

    Latents are scaled to a root mean square of 1 over the channels of each cell. This bounds them without a KL weight
    to tune, and gives the noise added in training the same relative strength in every cell.
    """

    takes_restoration = True
    streaming = True
    encodes_residual = False
    tile_px = 3840
    tile_bytes, state_bytes, encoder_tile_bytes = 160, 80, 60
    independent_votes = 4.0  # blocks are correlated; this decodes the training footage best (docs/experiments.md)

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 48,
        encoder_channels: tuple[int, int, int] = (48, 96, 192),
        decoder_channels: int = 64,
        decoder_latent_hidden: int = 192,
        num_decoder_blocks: int = 10,
        context_channels: int = 128,
        num_context_blocks: int = 4,
    ):
        super().__init__()
        self.encoder = Encoder(latent_channels, tuple(encoder_channels))  # type: ignore[arg-type]
        self.decoder = Decoder(
            latent_channels, decoder_latent_hidden, decoder_channels, num_decoder_blocks,
            context_channels, num_context_blocks,
        )  # fmt: skip
        self.estimator = RestorationEstimator()

    @property
    def geometry(self) -> Geometry:
        channels = self.config.latent_channels
        folded = 3 * (SPATIAL_FACTOR // FOLD) ** 2 * TEMPORAL_FACTOR
        return Geometry(SPATIAL_FACTOR, latent_channels=channels, condition_channels=channels + folded)

    @property
    def encoder_halo_px(self) -> int:
        """Pixels around a tile that its latents depend on, rounded up to whole cells."""
        return _round_up(self.encoder.halo_px)

    @property
    def decoder_halo_px(self) -> int:
        """Pixels around a tile that its decoded pixels depend on, rounded up to whole cells."""
        return _round_up(self.decoder.halo_px)

    @property
    def lookback_frames(self) -> int:
        """Earlier frames that a decoded frame depends on."""
        return self.decoder.lookback_frames

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
        """Encode video (N, 3, F, H, W) in [-1, 1] to latents (N, C, k+1, H/16, W/16).

        Raises ValueError unless F = 4k+1, and H and W are multiples of 16.
        """
        self.geometry.check(video)
        frames = as_frames(video, self.encoder.head.weight.dtype)
        features = self.encoder.frame_features(frames).unflatten(0, (-1, video.shape[2]))
        return self._latents(torch.cat([first_repeated(features), features], dim=1))

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """Encode the low-quality canvas (N, 3, F, H, W) to conditions (N, C', T, h, w).

        The latents alone hold a quarter of the information of a x4 input. They are therefore concatenated with the
        canvas at a quarter of its size, folded into the channels of each cell.

        Raises ValueError as `encode` does.
        """
        self.geometry.check(canvas)
        return self.encode_condition_next(canvas, None)[0]

    def encode_condition_next(self, canvas: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Encode the next frames of a canvas (N, 3, F, H, W), any number, after those that led to `state`.

        Returns conditions (N, C', T, h, w) of the latent frames that are complete, of which there may be none, and the
        state that the frames after these start from.
        """
        frames, num_frames = as_frames(canvas, self.encoder.head.weight.dtype), canvas.shape[2]
        encoded = self.encoder.frame_features(frames)
        folded = F.pixel_unshuffle(F.avg_pool2d(frames, FOLD), SPATIAL_FACTOR // FOLD)
        new = torch.cat([encoded, folded], dim=1).unflatten(0, (-1, num_frames))
        complete, after = complete_cells(new, state)
        if not complete.shape[1]:
            return new.new_empty(len(new), self.geometry.condition_channels, 0, *new.shape[-2:]), after
        encoded, folded = complete.split([encoded.shape[1], folded.shape[1]], dim=2)
        groups = folded.unflatten(1, (-1, TEMPORAL_FACTOR)).flatten(2, 3).transpose(1, 2)
        return torch.cat([self._latents(encoded), groups], dim=1), after

    def latents_of(self, condition: Tensor) -> Tensor:
        """Return the latents (C, T, h, w) of a canvas from its conditions, which begin with them."""
        return condition[: self.config.latent_channels]

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Estimate the degradation of each clip as a logit (N,), whose sigmoid is the `restoration` of `decode`.

        canvas: (N, 3, F, H, W) in [-1, 1]. scale: (N,) canvas size / input size.
        """
        if canvas.shape[2] == 1:  # treat a single image as a still clip, since the estimator needs two frames
            canvas = canvas.expand(-1, -1, 2, -1, -1)
        return self.estimator(canvas, scale).float()

    def decode(self, latents: Tensor | None, reference: Tensor, *, restoration: Tensor, scale: Tensor) -> Tensor:
        """Decode latents (N, C, T, h, w) and the reference canvas (N, 3, F, H, W) in [-1, 1] to video of its shape.

        latents: None stands for zeros. restoration: (N,) degradation of the input, from 0 (downscaled only) to 1
        (noise, blur and compression). scale: (N,) canvas size / input size.

        Raises ValueError as `encode` does.
        """
        self.geometry.check(reference)
        return self.decode_next(latents, reference, None, restoration=restoration, scale=scale)[0]

    def decode_next(
        self, latents: Tensor | None, reference: Tensor, state: State | None, *, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, State]:
        """Decode the next frames of a shot, any number, after those that led to `state`.

        latents: (N, C, T, h, w), the latent frames that these frames belong to. Other arguments: see `decode`.
        state: used up; each feature is freed once a later one replaces it.

        Returns the frames and the state that the frames after these start from.
        """
        dtype = self.decoder.head.weight.dtype
        if latents is None:
            done = 0 if state is None else state.num_frames
            cells = cells_of(range(done, done + reference.shape[2]))
            shape = self.geometry.latent_channels, cells.stop - cells.start, *self.geometry.cells(*reference.shape[-2:])
            latents = reference.new_zeros(len(reference), *shape)
        detail, state = self.decoder(latents.to(dtype), reference.to(dtype), restoration, scale, state)
        # Add in the reference's precision: bfloat16 would cause visible banding in flat areas of the input.
        return _as_video(detail, reference.shape[2]).to(reference.dtype).add_(reference), state

    def _latents(self, features: Tensor) -> Tensor:
        """Return latents (N, C, T, h, w) of frame features (N, 4T, C', h, w)."""
        groups = features.unflatten(1, (-1, TEMPORAL_FACTOR))
        latents = self.encoder.latents(groups.flatten(0, 1))
        latents = latents / latents.float().pow(2).mean(dim=1, keepdim=True).add(1e-6).sqrt().to(latents.dtype)
        return _as_video(latents, groups.shape[1])


def _round_up(px: int) -> int:
    return -(-px // SPATIAL_FACTOR) * SPATIAL_FACTOR


def _as_video(frames: Tensor, num_frames: int) -> Tensor:  # (N*F, C, H, W) -> (N, C, F, H, W)
    return frames.unflatten(0, (-1, num_frames)).transpose(1, 2)
