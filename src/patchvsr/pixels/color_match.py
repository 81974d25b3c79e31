"""Match output colours to the input by removing low frequencies of the difference to the canvas.

Detail finer than the grid is left to the model. Chroma follows the input on a finer grid than luma, because colour
detail rarely has to be invented and tints are conspicuous, while a restoration may have to change the mean luma of a
small area.
"""

from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.pixels.size import Size

# Grid steps in pixels of the input (of the output where that is smaller), chosen on clean and degraded clips. Finer
# grids bring back the noise of the input; coarser ones leave more drift and more steps between tiles
# (docs/experiments.md).
CHROMA_STEP_PX = 4
LUMA_STEP_PX = 16

# BT.709. Any weights that sum to one would do: they only decide which part of a difference is matched on which grid,
# and both grids remove a constant difference completely.
LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)


def match_color_(video: Tensor, canvas: Tensor, input_size: Size) -> Tensor:
    """Correct each frame independently and in place; a video equal to its canvas stays bit-identical.

    The difference is taken at the output size, not between input and downscaled output: downscaling an enlarged image
    does not return the original, and that error would be mistaken for a colour error.

    Args:
        video: (3, F, H, W) restored, RGB in [-1, 1].
        canvas: (3, F, H, W), the input enlarged to the same size, in the same range.
        input_size: size of the input.

    Returns:
        `video`, in [-1, 1].
    """
    size = Size.of(video)
    smaller = min(size.height, input_size.height), min(size.width, input_size.width)
    chroma_grid, luma_grid = _grid(smaller, CHROMA_STEP_PX), _grid(smaller, LUMA_STEP_PX)
    # Frame by frame and channel by channel, so that only one channel of a 4K or 8K frame is held twice.
    for frame, reference in zip(video.unbind(1), canvas.unbind(1), strict=True):
        error = torch.cat([_reduce((r - f)[None, None], chroma_grid) for f, r in zip(frame, reference, strict=True)], 1)
        luma_error = _luma(error)
        luma_drift = _enlarge(_reduce(luma_error, luma_grid), chroma_grid)
        correction = error - luma_error + luma_drift
        for index, channel in enumerate(frame):
            channel.add_(_enlarge(correction[:, index : index + 1], (size.height, size.width))[0, 0]).clamp_(-1, 1)
    return video


def reach_px(size: Size, input_size: Size) -> int:
    """Return the receptive field radius of the correction in pixels, for a video of `size`."""
    # The triangle filter reaches one grid step and bicubic enlargement two, and both run on both grids.
    smaller = min(size.height, input_size.height), min(size.width, input_size.width)
    grids = _grid(smaller, CHROMA_STEP_PX), _grid(smaller, LUMA_STEP_PX)
    return max(
        ceil(sum(3 * side / grid[axis] for grid in grids)) for axis, side in enumerate((size.height, size.width))
    )


def _grid(size: tuple[int, int], step_px: int) -> tuple[int, int]:
    return max(1, round(size[0] / step_px)), max(1, round(size[1] / step_px))


def _reduce(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Downscale (1, C, h, w) to (1, C, *size) with a triangle filter, which averages out noise and detail."""
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


def _enlarge(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (1, C, h, w) to (1, C, *size) bicubically, smooth between grid points."""
    return F.interpolate(image, size=size, mode="bicubic", antialias=True)


def _luma(rgb: Tensor) -> Tensor:
    """Return the luma (1, 1, h, w) of RGB (1, 3, h, w)."""
    return (rgb * rgb.new_tensor(LUMA_WEIGHTS)[:, None, None]).sum(1, keepdim=True)
