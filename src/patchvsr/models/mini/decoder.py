"""Decoder of the bundled autoencoder: predict the detail missing from the canvas, given canvas and latents.

It is conditioned on the degradation of the input and on the scale factor. Sharpening that suits a clean x4 reduction
ruins a noisy one, and a smooth patch alone does not reveal which of the two it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchvsr.models.geometry import TEMPORAL_FACTOR, latent_frames
from patchvsr.models.mini.blocks import FOLD, CausalTemporalMix, ResidualBlock, VectorLinear, scale_feature

EMBEDDING_CHANNELS = 64


class InputEmbedding(nn.Module):
    """Embed `restoration` (N,), 0 (clean) to 1 (heavily degraded), and `scale` (N,) as a vector (N, E) per clip."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(VectorLinear(2, EMBEDDING_CHANNELS), nn.SiLU())

    def forward(self, restoration: Tensor, scale: Tensor) -> Tensor:
        return self.layers(torch.stack([2 * restoration.float() - 1, scale_feature(scale)], dim=1))


class Decoder(nn.Module):
    """Residual trunk at a quarter of the canvas size, with latent and wide-context features added at its input."""

    def __init__(
        self,
        latent_channels: int,
        latent_hidden: int,
        channels: int,
        num_blocks: int,
        context_channels: int,
        num_context_blocks: int,
    ):
        super().__init__()
        self.embedding = InputEmbedding()
        self.latent_stem = nn.Conv2d(latent_channels, latent_hidden, 1)
        self.latent_block = ResidualBlock(latent_hidden)
        self.unfold_time = nn.Conv2d(latent_hidden, TEMPORAL_FACTOR * channels * 4, 1)
        self.block8 = ResidualBlock(channels)
        self.up4 = nn.Conv2d(channels, channels * 4, 1)
        self.stem = nn.Conv2d(3 * FOLD**2, channels, 3, padding=1)
        # Noise and blur are easier to judge over a wider receptive field, which costs a quarter at half the size.
        self.context_down = nn.Conv2d(4 * channels, context_channels, 1)
        self.context_blocks = nn.ModuleList(
            ResidualBlock(context_channels, EMBEDDING_CHANNELS) for _ in range(num_context_blocks)
        )
        self.context_up = nn.Conv2d(context_channels, 4 * channels, 1)
        self.blocks = nn.ModuleList(ResidualBlock(channels, EMBEDDING_CHANNELS) for _ in range(num_blocks))
        # Only every second block mixes in earlier frames: more cost much and gained little.
        self.mixes = nn.ModuleList(CausalTemporalMix(channels) for _ in range(num_blocks // 2))
        self.head = nn.Conv2d(channels, 3 * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    @property
    def halo_px(self) -> int:
        radius = ResidualBlock.radius
        trunk = FOLD * (2 + radius * len(self.blocks))
        latents = 8 * radius + 16 * radius
        context = 8 * (1 + radius * len(self.context_blocks))  # 1: rounding, as a context cell is two trunk cells
        return trunk + max(latents, context)

    def forward(
        self, latents: Tensor, reference: Tensor, restoration: Tensor, scale: Tensor, num_frames: int
    ) -> Tensor:  # (N*T, C, h, w), (N*F, 3, H, W), (N,), (N,) -> (N*F, 3, H, W)
        embedding = self.embedding(restoration, scale)
        x = self.stem(F.pixel_unshuffle(reference, FOLD))
        x = x + self._latent_features(latents, latent_frames(num_frames)) + self._context(x, embedding)
        skip = x
        for index, block in enumerate(self.blocks):
            x = block(x, embedding)
            if index % 2 == 1:
                x = self.mixes[index // 2](x, num_frames)
        return F.pixel_shuffle(self.head(x + skip), FOLD)

    def _latent_features(self, latents: Tensor, num_latent_frames: int) -> Tensor:
        x = self.latent_block(self.latent_stem(latents))
        x = F.pixel_shuffle(self.unfold_time(x), 2)  # (N*T, 4C, h/8, w/8)
        x = x.unflatten(1, (TEMPORAL_FACTOR, -1)).unflatten(0, (-1, num_latent_frames)).flatten(1, 2)
        x = x[:, TEMPORAL_FACTOR - 1 :].flatten(0, 1)  # (N*F, C, h/8, w/8): the first cell holds one frame
        return F.pixel_shuffle(self.up4(self.block8(x)), 2)

    def _context(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.context_down(F.pixel_unshuffle(x, 2))
        for block in self.context_blocks:
            x = block(x, embedding)
        return F.pixel_shuffle(self.context_up(x), 2)
