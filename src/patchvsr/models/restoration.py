"""Estimate how degraded a clip is from small blocks of its canvas, at the size used in training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.pixels.size import Size

BLOCK_PX, BLOCKS_A_SIDE = 192, 4
LOOKS, LOOK_FRAMES = 3, 5
# Looks are taken from the beginning of a shot, so that a job need not read a long one twice.
LOOKED_AT_FRAMES = 240
FLAT = 1 / 255  # standard deviation below which a block is ignored, for values in [-1, 1]


def looks(frames: range) -> list[range]:
    """Return the runs of up to 5 frames by which a shot is judged: up to three, evenly spaced in its first 240 frames.

    A single one would be misled by a shot that fades in or begins with a still.
    """
    span = min(len(frames), LOOKED_AT_FRAMES)
    length = min(span, LOOK_FRAMES)
    count = min(LOOKS, span // length)
    starts = [frames.start + (span - length) * index // max(1, count - 1) for index in range(count)]
    return [range(start, start + length) for start in starts]


def estimate_restoration(
    autoencoder: Autoencoder, canvases: Iterable[Iterable[Tensor]], size: Size, scale: float
) -> float:
    """Return the restoration strength that a clip needs, from 0 (downscaled only) to 1.

    canvases: of its `looks`, each a run of frames (3, H, W) in [-1, 1]; made and used one after the other. size: of the
    picture on them, without padding. scale: canvas size / input size.

    Logits of up to 4x4 blocks of each run are averaged. Averaging logits, not probabilities, gives featureless blocks
    such as sky little weight. Blocks of a clip are correlated: the mean counts as that of the autoencoder's number of
    independent votes. Flat blocks (black bars, or black frames before a fade) are excluded; if all are flat,
    the result is 0. The result is rounded to two decimals so that the recorded value is exactly the value used.
    """
    logits = [logit for canvas in canvases for logit in _logits(autoencoder, canvas, size, scale)]
    if not logits:
        return 0.0
    return round((autoencoder.independent_votes * torch.cat(logits).mean()).sigmoid().item(), 2)


def _logits(autoencoder: Autoencoder, canvas: Iterable[Tensor], size: Size, scale: float) -> list[Tensor]:
    rows, columns = (_blocks(side, autoencoder.geometry.spatial_factor) for side in (size.height, size.width))
    places = [(row, column) for row in rows for column in columns]
    cut = []  # by frame, then by place: whole frames are not held
    for frame in canvas:
        cut.append([frame[:, row, column].clone() for row, column in places])
    blocks = [torch.stack(block, dim=1).unsqueeze(0) for block in zip(*cut, strict=True)]
    device = autoencoder.device
    enlarged_by = torch.tensor([scale], device=device)
    return [autoencoder.estimate_restoration(block.to(device), enlarged_by) for block in blocks if block.std() > FLAT]


def _blocks(side: int, cell_px: int) -> list[slice]:
    """Return up to four evenly spaced blocks along a side. A side shorter than a latent cell gets one cell."""
    block = min(BLOCK_PX, max(1, side // cell_px) * cell_px)
    count = min(BLOCKS_A_SIDE, -(-side // BLOCK_PX))
    starts = [max(0, side - block) * index // max(1, count - 1) for index in range(count)]
    return [slice(start, start + block) for start in starts]
