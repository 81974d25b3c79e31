"""Estimate how degraded a clip is, from small blocks of the canvas as in training."""

from __future__ import annotations

import torch
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.pixels.size import Size

BLOCK_PX, BLOCKS_A_SIDE, NUM_FRAMES = 192, 4, 5
FLAT = 1 / 255  # standard deviation, of values from -1 to 1
# Blocks of one clip are witnesses of one thing: together they are surer than each, yet less than independent ones.
# As many as decode clips of the training footage best (docs/experiments.md).
INDEPENDENT_VOTES = 4.0


def estimate_restoration(autoencoder: Autoencoder, canvas: Tensor, size: Size, scale: float) -> float:
    """The restoration that a canvas (3, F, H, W) in [-1, 1], F = 4k+1, needs: 0 (only made smaller) to 1.

    size: of the picture on it; what lies beyond is padding. scale: canvas size / input size.
    Up to 4x4 blocks spread over the canvas and its first 5 frames vote, by logits, because a block of sky knows
    nothing and should say little; black bars have no vote, and a picture of nothing else needs nothing. Two decimals:
    what a record shows is what was used.
    """
    clip = canvas[:, :NUM_FRAMES]
    rows, columns = (_blocks(side, autoencoder.geometry.spatial_factor) for side in (size.height, size.width))
    enlarged_by = torch.tensor([scale], device=autoencoder.device)
    blocks = [clip[None, ..., row, column] for row in rows for column in columns]
    logits = [
        autoencoder.estimate_restoration(block.to(autoencoder.device), enlarged_by)
        for block in blocks
        if block.std() > FLAT
    ]
    return round((INDEPENDENT_VOTES * torch.cat(logits).mean()).sigmoid().item(), 2) if logits else 0.0


def _blocks(side: int, cell_px: int) -> list[slice]:
    """Up to four blocks from one end of a side to the other; on a side of less than a cell, that cell."""
    block = min(BLOCK_PX, max(1, side // cell_px) * cell_px)
    count = min(BLOCKS_A_SIDE, -(-side // BLOCK_PX))
    starts = [max(0, side - block) * index // max(1, count - 1) for index in range(count)]
    return [slice(start, start + block) for start in starts]
