"""The generative path of the bundled model: latents of what the restorer leaves out, and their decoder."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchvsr.models.geometry import TEMPORAL_FACTOR
from patchvsr.models.mini.blocks import (
    FOLD,
    Downsample2x,
    ResidualBlock,
    Upsample2x,
    convolve,
    convolve_add,
    convolve_leaky_relu,
    frames_of_cells,
)
from patchvsr.models.mini.restorer import ConditionedBlock, Features, PreviousFrame, run_trunk

CELL_PX = 8


class ConditionEncoder(nn.Module):
    """Encode what the restorer sees in frames to conditions, one for each cell of 8x8 pixels and 4 frames."""

    def __init__(self, channels: int, hidden: int, out_channels: int):
        super().__init__()
        self.down8 = Downsample2x(channels, hidden)
        self.block8 = ResidualBlock(hidden)
        self.fold_time = nn.Conv2d(TEMPORAL_FACTOR * hidden, hidden, 1)
        self.block_of_4 = ResidualBlock(hidden)
        self.head = nn.Conv2d(hidden, out_channels, 1)

    @property
    def halo_px(self) -> int:
        """Pixels around a tile that its conditions depend on, by the restorer's features."""
        return CELL_PX * 2 * ResidualBlock.radius

    def frame_features(self, features: Tensor) -> Tensor:  # (N, C, H/4, W/4) -> (N, C', H/8, W/8)
        return self.block8(self.down8(features))

    def cells(self, features: Tensor) -> Tensor:  # (N, 4T, C', h, w) -> (N, C'', T, h, w)
        groups = features.unflatten(1, (-1, TEMPORAL_FACTOR))
        x = convolve_leaky_relu(groups.flatten(0, 1).flatten(1, 2), self.fold_time)
        return convolve(self.block_of_4(x), self.head).unflatten(0, (-1, groups.shape[1])).transpose(1, 2)


class BandEnergies:
    """Latents that tell how strong missing detail is in every cell, by frequency and direction, but not where it lies.

    Each cell of the luma is transformed to 8x8 cosines (DCT-II), whose squares are averaged over each band and over the
    frames of the cell. What detail looks like pixel by pixel cannot be inferred from a low-quality input, but how much
    there is of which kind can be, to about a half (docs/experiments.md): the transformer predicts that, and the decoder
    of detail makes it, along the edges that the restorer found.

    Bands are three octaves of periods (16 pixels; 8 to 5; 4 to 2) by three directions: horizontal edges, vertical
    ones, and all between.
    """

    count = 9
    # Of the logarithms of what `fast` leaves out of the training footage.
    means = (-6.1, -6.1, -6.8, -6.2, -6.2, -7.2, -7.9, -7.9, -8.8)
    deviations = (2.8, 2.8, 2.7, 2.7, 2.7, 2.6, 2.4, 2.4, 2.1)
    # Half an 8-bit level of [-1, 1], squared: what lies far below is rounding.
    floor = (1 / 255) ** 2

    @classmethod
    def of_frames(cls, frames: Tensor) -> Tensor:
        """Return the mean squares (N, 9, H/8, W/8) of frames (N, 3, H, W)."""
        luma = torch.einsum("nchw,c->nhw", frames.float(), frames.new_tensor(_LUMA, dtype=torch.float32)).unsqueeze(1)
        cosines, bands = _cosines(frames.device)
        return torch.einsum("bk,nkhw->nbhw", bands, F.conv2d(luma, cosines, stride=CELL_PX).float().square())

    @classmethod
    def logarithms(cls, energies: Tensor) -> Tensor:
        """Return logarithms of energies, which at and below `floor` hardly change."""
        return (energies + cls.floor).log()

    @classmethod
    def latents(cls, energies: Tensor) -> Tensor:
        """Scale energies (N, 9, T, h, w) to latents of zero mean and unit deviation."""
        mean, deviation = (energies.new_tensor(values).view(1, -1, 1, 1, 1) for values in (cls.means, cls.deviations))
        return (cls.logarithms(energies) - mean) / deviation


_LUMA = (0.2126, 0.7152, 0.0722)  # BT.709


@cache
def _cosines(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the 8x8 cosines as the weights of a convolution (64, 1, 8, 8), and the bands' shares of them (9, 64)."""
    numbers = torch.arange(CELL_PX)
    rows = torch.cos(math.pi / CELL_PX * (numbers + 0.5) * numbers[:, None]) * math.sqrt(2 / CELL_PX)
    rows[0] /= math.sqrt(2)
    bands = torch.zeros(BandEnergies.count, CELL_PX, CELL_PX)
    for y in range(CELL_PX):
        for x in range(CELL_PX):
            if x or y:
                direction = 0 if y >= 2 * x else 1 if x >= 2 * y else 2
                bands[3 * int(math.log2(max(x, y))) + direction, y, x] = 1
    bands = bands.flatten(1) / bands.sum(dim=(1, 2))[:, None]
    return torch.einsum("uy,vx->uvyx", rows, rows).flatten(0, 1).unsqueeze(1).to(device), bands.to(device)


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
