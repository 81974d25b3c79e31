"""The generative path of the bundled model: latents of what the restorer leaves out, and their decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchvsr.models.geometry import TEMPORAL_FACTOR
from patchvsr.models.mini.blocks import (
    FOLD,
    Downsample2x,
    FoldedConvolution,
    ResidualBlock,
    Upsample2x,
    convolve,
    convolve_add,
    convolve_leaky_relu,
    frames_of_cells,
)
from patchvsr.models.mini.restorer import ConditionedBlock, Features, PreviousFrame, run_trunk

CELL_PX = 8


class ClipEncoder(nn.Module):
    """Encode frames of some channels to cells of 8x8 pixels and 4 frames, by convolutions."""

    def __init__(self, in_channels: int, out_channels: int, channels: tuple[int, int]):
        super().__init__()
        quarter, eighth = channels
        self.stem = FoldedConvolution(quarter, in_channels)
        self.block4 = ResidualBlock(quarter)
        self.down8 = Downsample2x(quarter, eighth)
        self.block8 = ResidualBlock(eighth)
        self.fold_time = nn.Conv2d(TEMPORAL_FACTOR * eighth, eighth, 1)
        self.block_of_4 = ResidualBlock(eighth)
        self.head = nn.Conv2d(eighth, out_channels, 1)

    @property
    def halo_px(self) -> int:
        return FOLD * (1 + ResidualBlock.radius) + CELL_PX * 2 * ResidualBlock.radius

    def frame_features(self, frames: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C', H/8, W/8)
        return self.block8(self.down8(self.block4(self.stem(frames))))

    def cells(self, features: Tensor) -> Tensor:  # (N, 4T, C', h, w) -> (N, C'', T, h, w)
        groups = features.unflatten(1, (-1, TEMPORAL_FACTOR))
        x = convolve_leaky_relu(groups.flatten(0, 1).flatten(1, 2), self.fold_time)
        return convolve(self.block_of_4(x), self.head).unflatten(0, (-1, groups.shape[1])).transpose(1, 2)


class LatentStatistics(nn.Module):
    """Mean and deviation of each channel of the latents, by which the transformer sees them centred and of one size.

    They are parameters that a loss of their own fits to the latents, so that a checkpoint holds them like any other.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mean, self.log_deviation = (nn.Parameter(torch.zeros(channels)) for _ in range(2))

    def normalised(self, latents: Tensor) -> Tensor:  # (N, C, T, h, w)
        mean, deviation = self._now(latents)
        return (latents - mean) / deviation

    def restored(self, latents: Tensor) -> Tensor:
        """Undo `normalised`."""
        mean, deviation = self._now(latents)
        return latents * deviation + mean

    def loss(self, latents: Tensor) -> Tensor:
        """Return the negative log-likelihood of latents as they come, whose gradient does not reach them."""
        mean, log_deviation = (_per_channel(value) for value in (self.mean, self.log_deviation))
        return (((latents.detach().float() - mean) / log_deviation.exp()).square() / 2 + log_deviation).mean()

    def _now(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        values = self.mean.detach(), self.log_deviation.detach().exp()
        return tuple(_per_channel(value).to(latents.dtype) for value in values)  # type: ignore[return-value]


class DetailDecoder(nn.Module):
    """Turn latents into detail, guided by the restorer's features of the same frames.

    Decodes any number of frames at a time. What later frames need of earlier ones is handed on by name.
    """

    def __init__(self, latent_channels: int, latent_hidden: int, channels: int, num_blocks: int):
        super().__init__()
        self.latent_stem = nn.Conv2d(latent_channels, latent_hidden, 1)
        self.latent_block = ResidualBlock(latent_hidden)
        self.unfold_time = Upsample2x(latent_hidden, TEMPORAL_FACTOR * channels)
        self.guide = nn.Conv2d(channels, channels, 3, padding=1)
        self.blocks = nn.ModuleList(ConditionedBlock(channels) for _ in range(num_blocks))
        self.previous = nn.ModuleList(PreviousFrame(channels) for _ in range(num_blocks // 2))
        self.head = nn.Conv2d(channels, 3 * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    @property
    def halo_px(self) -> int:
        """Pixels around a tile that its detail depends on, by the restorer's features; latents are needed no further.

        Latents reach as far with a block of their own, and the restorer's features with at least two blocks.
        """
        return FOLD * (1 + 2 * len(self.blocks) + len(self.previous) + 1)

    @property
    def lookback_frames(self) -> int:
        """Earlier frames whose latents and restorer's features the detail of a frame depends on."""
        return PreviousFrame.lookback_frames * len(self.previous)

    def forward(
        self, latents: Tensor, guide: Tensor, embedding: Tensor, frames: range, carried: Features
    ) -> tuple[Tensor, Features]:
        """Return folded detail (N*F, 48, H/4, W/4) of the next frames of a shot, and what the next ones need.

        latents: (N, C, T, h, w), the latent frames that these frames belong to. guide: (N*F, C, H/4, W/4).
        frames: their numbers in the shot. carried: what the frames before handed on; used up.
        """
        x, handed_on = self._from_latents(latents, frames, carried)
        x = convolve_add(x, guide, self.guide.weight, self.guide.bias, padding=1)
        x, by_blocks = run_trunk(self.blocks, self.previous, x, embedding, len(frames), carried)
        return convolve(x, self.head), handed_on | by_blocks

    def _from_latents(self, latents: Tensor, frames: range, carried: Features) -> tuple[Tensor, Features]:
        """Return features (N*F, C, H/4, W/4) of frames, and those of a latent frame that has frames still to come."""
        hidden = [carried.pop("latent")] if "latent" in carried else []
        new = latents[:, :, len(hidden) :]
        if new.shape[2]:
            made = self.latent_block(convolve(new.transpose(1, 2).flatten(0, 1), self.latent_stem))
            hidden += made.unflatten(0, (-1, new.shape[2])).unbind(1)
        x, waiting = frames_of_cells(hidden, frames, self.unfold_time)
        return x, {} if waiting is None else {"latent": waiting}


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
