"""Colours of the output follow the input: the low frequencies of the difference to the canvas are taken back.

Whatever lies between two grid points is the model's own: detail. Colour detail hardly ever has to be invented and
tints are seen at once, so chroma follows the input on a finer grid than luma, where a model may well have
to move the mean of a small area to restore it.
"""

from __future__ import annotations

from math import ceil

import torch.nn.functional as F
from torch import Tensor

from patchvsr.pixels.size import Size

# Grid steps in pixels of the input (of the output where that is smaller), chosen on clean and degraded clips: finer
# ones bring the input's own noise back, coarser ones leave more of a drift or of steps between tiles
# (docs/experiments.md).
CHROMA_STEP_PX = 4
LUMA_STEP_PX = 16

# BT.709. Any weights that sum to one would do: they only say which part of a difference is matched on which grid, and
# both grids take a constant difference back completely.
LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)


def match_color_(video: Tensor, canvas: Tensor, input_size: Size) -> Tensor:
    """Corrects each frame in place, by itself; a video equal to its canvas stays as it is, to the bit.

    The difference is taken between images of one size, not between input and reduced output: reducing what was enlarged
    does not return the input, and that error would be taken for one of colour.

    Args:
        video: (3, F, H, W) restored, RGB in [-1, 1].
        canvas: (3, F, H, W) the input enlarged to the same size, in the same range.
        input_size: of the input.

    Returns:
        `video`, in [-1, 1].
    """
    size = Size.of(video)
    smaller = min(size.height, input_size.height), min(size.width, input_size.width)
    chroma_grid, luma_grid = _grid(smaller, CHROMA_STEP_PX), _grid(smaller, LUMA_STEP_PX)
    for index in range(video.shape[1]):  # frame by frame: of 4K, no more than one should be held twice
        frame = video[None, :, index]
        error = _reduce(canvas[None, :, index] - frame, chroma_grid)
        luma_error = _luma(error)
        luma_drift = _enlarge(_reduce(luma_error, luma_grid), chroma_grid)
        frame.add_(_enlarge(error - luma_error + luma_drift, (size.height, size.width))).clamp_(-1, 1)
    return video


def reach_px(size: Size, input_size: Size) -> int:
    """How far around a pixel its correction depends on others, for a video of `size`."""
    # A mean under a triangle looks one step of its grid away, enlarging two, and both are done on both grids.
    smaller = min(size.height, input_size.height), min(size.width, input_size.width)
    grids = _grid(smaller, CHROMA_STEP_PX), _grid(smaller, LUMA_STEP_PX)
    return max(
        ceil(sum(3 * side / grid[axis] for grid in grids)) for axis, side in enumerate((size.height, size.width))
    )


def _grid(size: tuple[int, int], step_px: int) -> tuple[int, int]:
    return max(1, round(size[0] / step_px)), max(1, round(size[1] / step_px))


def _reduce(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) -> (1, C, *size): means under a triangle, in which noise and detail vanish."""
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


def _enlarge(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) -> (1, C, *size), smooth between the points."""
    return F.interpolate(image, size=size, mode="bicubic", antialias=True)


def _luma(rgb: Tensor) -> Tensor:
    """(1, 3, h, w) -> (1, 1, h, w)."""
    return (rgb * rgb.new_tensor(LUMA_WEIGHTS)[:, None, None]).sum(1, keepdim=True)
