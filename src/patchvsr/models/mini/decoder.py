"""Decoder of the bundled autoencoder: predict the detail missing from the canvas, given canvas and latents.

It is conditioned on the degradation of the input and on the scale factor. Sharpening that suits a clean x4 reduction
ruins a noisy one, and a smooth patch alone does not reveal which of the two it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import TEMPORAL_FACTOR
from patchvsr.models.mini.blocks import (
    FOLD,
    CausalTemporalMix,
    Downsample2x,
    FoldedConvolution,
    ResidualBlock,
    Upsample2x,
    VectorLinear,
    convolve,
    frames_of_cells,
    scale_feature,
    unfold,
)

EMBEDDING_CHANNELS = 64


class InputEmbedding(nn.Module):
    """Embed `restoration` (N,), 0 (clean) to 1 (heavily degraded), and `scale` (N,) as a vector (N, E) per clip."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(VectorLinear(2, EMBEDDING_CHANNELS), nn.SiLU())

    def forward(self, restoration: Tensor, scale: Tensor) -> Tensor:
        return self.layers(torch.stack([2 * restoration.float() - 1, scale_feature(scale)], dim=1))


class Decoder(nn.Module):
    """Residual trunk at a quarter of the canvas size, with latent and wide-context features added at its input.

    Decodes any number of frames at a time. What later frames need of earlier ones is handed on in a `State`: the
    features that the temporal mixes look back at, and those of a latent frame of which frames are still to come.
    """

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
        self.unfold_time = Upsample2x(latent_hidden, TEMPORAL_FACTOR * channels)
        self.block8 = ResidualBlock(channels)
        self.up4 = Upsample2x(channels, channels)
        self.stem = FoldedConvolution(channels)
        # Noise and blur are easier to judge over a wider receptive field, which costs a quarter at half the size.
        self.context_down = Downsample2x(channels, context_channels)
        self.context_blocks = nn.ModuleList(
            ResidualBlock(context_channels, EMBEDDING_CHANNELS) for _ in range(num_context_blocks)
        )
        self.context_up = Upsample2x(context_channels, channels)
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

    @property
    def lookback_frames(self) -> int:
        """Earlier frames that a decoded frame depends on."""
        return CausalTemporalMix.lookback_frames * len(self.mixes)

    def forward(
        self, latents: Tensor, reference: Tensor, restoration: Tensor, scale: Tensor, state: State | None
    ) -> tuple[Tensor, State]:  # (N, C, T, h, w), (N, 3, F, H, W), (N,), (N,) -> (N*F, 3, H, W)
        num_frames = reference.shape[2]
        frames = range(num_frames) if state is None else range(state.num_frames, state.num_frames + num_frames)
        carried = {} if state is None else state.features
        handed_on: dict[str, Tensor] = {}

        embedding = self.embedding(restoration, scale)
        x = self.stem(reference.transpose(1, 2).flatten(0, 1))
        x = self._latent_features(latents, frames, carried, handed_on).add_(x).add_(self._context(x, embedding))
        skip = x
        for index, block in enumerate(self.blocks):
            x = block(x, embedding)
            if index % 2 == 1:
                names = f"mix{index // 2}.back1", f"mix{index // 2}.back2"
                past = (carried.pop(names[0]), carried.pop(names[1])) if names[0] in carried else None
                x, past = self.mixes[index // 2](x, num_frames, past)
                handed_on |= zip(names, past, strict=True)
        return unfold(convolve(x.add_(skip), self.head)), State(frames.stop, handed_on)

    def _latent_features(
        self, latents: Tensor, frames: range, carried: dict[str, Tensor], handed_on: dict[str, Tensor]
    ) -> Tensor:
        """Return features (N*F, C, h/4, w/4) of frames, numbered from the start of the shot."""
        hidden = [carried.pop("latent")] if "latent" in carried else []
        new = latents[:, :, len(hidden) :]
        if new.shape[2]:
            made = self.latent_block(convolve(new.transpose(1, 2).flatten(0, 1), self.latent_stem))
            hidden += made.unflatten(0, (-1, new.shape[2])).unbind(1)
        x, waiting = frames_of_cells(hidden, frames, self.unfold_time)
        if waiting is not None:
            handed_on["latent"] = waiting
        return self.up4(self.block8(x))

    def _context(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.context_down(x)
        for block in self.context_blocks:
            x = block(x, embedding)
        return self.context_up(x)
