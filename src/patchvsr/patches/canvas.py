"""Blend weighted patches into a canvas, and compute the location conditions of a patch.

Floating-point sums depend on their order, and patches arrive in any order: from batches, from several devices, from an
all-reduce. The canvas therefore sums integers. Values are rounded to multiples of 2^-28, and weights are multiples of
2^-24 already, so every product is exact in int64 and the sum is bit-identical however it is split.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from patchvsr.patches.grid import Box

VALUE_BITS = 28
WEIGHT_BITS = 24

# 28 + 24 fractional bits leave 11 bits and the sign of an int64. Velocities are of order 1.
VALUE_LIMIT = 2.0 ** (63 - VALUE_BITS - WEIGHT_BITS)


class Canvas:
    """Accumulate weighted patches of a (..., T, H, W) tensor; bit-identical for any order of patches.

    `state` is the whole state: a flat int64 tensor of the weighted sums, followed by the sum of all weights. To merge
    the canvases of several ranks, add their states (one all-reduce). `stage` is named in errors.
    """

    def __init__(
        self, shape: Sequence[int], device: torch.device | str | None = None, *, stage: str = "canvas"
    ) -> None:
        self.shape = torch.Size(shape)
        self.stage = stage
        self.state = torch.zeros(self.shape.numel() + 1, dtype=torch.int64, device=device)

    def add(self, box: Box, weight: Tensor, values: Tensor) -> None:
        """Add `values` (..., t, h, w), any float type, times `weight` (t, h, w) at `box`.

        Raises:
            ValueError: the shapes of box, weight and values do not match each other or the canvas.
            FloatingPointError: a value is NaN, infinite or beyond +-2048; the box and stage are named.
        """
        place = self._sums()[box.slices]
        if values.shape != place.shape or weight.shape != box.shape:
            raise ValueError(
                f"{self.stage}: {box} of canvas {tuple(self.shape)} takes values {tuple(place.shape)}, "
                f"got values {tuple(values.shape)} and weight {tuple(weight.shape)}"
            )
        values = values.to(self.state.device, torch.float32)
        peak = float(values.abs().max())
        if not peak < VALUE_LIMIT:  # also false for NaN
            raise FloatingPointError(f"{self.stage}: patch at {box} has values up to {peak}")
        whole_weight = _fixed_point(weight.to(self.state.device), WEIGHT_BITS)
        place += _fixed_point(values, VALUE_BITS) * whole_weight
        self.state[-1] += whole_weight.sum()

    def result(self) -> Tensor:
        """Return the weighted sum, float32 in the shape of the canvas, each element rounded once.

        Raises:
            RuntimeError: the weights do not sum to 1 per cell.
        """
        cells = self.shape[-3:].numel()
        covered = int(self.state[-1])
        if covered != cells << WEIGHT_BITS:
            raise RuntimeError(
                f"{self.stage}: patches cover {covered / (cells << WEIGHT_BITS):.2%} of the canvas, "
                "so one is missing or was added twice"
            )
        return self._sums().to(torch.float32).mul_(2.0 ** -(VALUE_BITS + WEIGHT_BITS))

    def _sums(self) -> Tensor:
        return self.state[:-1].view(self.shape)


def location_mask(box: Box, canvas_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Tensor:
    """Return PatchVSR's location mask, (1, h, w) float32 on the global view's grid: 1 for cell centres in the box.

    canvas_hw: height and width of the area that the global view shows, in the units of the box.
    grid_hw: height and width of the mask in cells.

    A box that contains no cell centre marks the cell under its own centre, so that no mask is empty.
    """
    rows = _covered_cells(box.y0, box.y1, canvas_hw[0], grid_hw[0])
    columns = _covered_cells(box.x0, box.x1, canvas_hw[1], grid_hw[1])
    return (rows[:, None] & columns).to(torch.float32)[None]


def crop_box_condition(box: Box, canvas_shape: Sequence[int]) -> tuple[float, float, float, float]:
    """Return the crop micro-condition (y0, x0, y1, x1) in [0, 1], as fractions of the canvas (..., H, W).

    Raises:
        ValueError: the box leaves the canvas.
    """
    height, width = canvas_shape[-2:]
    if not (0 <= box.y0 < box.y1 <= height and 0 <= box.x0 < box.x1 <= width):
        raise ValueError(f"{box} is not inside a canvas of {height} x {width}")
    return box.y0 / height, box.x0 / width, box.y1 / height, box.x1 / width


def _covered_cells(begin: int, end: int, length: int, cells: int) -> Tensor:
    """Return which of `cells` equal parts of `[0, length)` have their centre in `[begin, end)`; at least one."""
    centres = (2 * torch.arange(cells) + 1) * length  # all three in units of 1 / (2 * cells): no rounding
    covered = (centres >= 2 * cells * begin) & (centres < 2 * cells * end)
    if not covered.any():
        covered[min((begin + end) * cells // (2 * length), cells - 1)] = True
    return covered


def _fixed_point(values: Tensor, bits: int) -> Tensor:
    """Return values as multiples of 2^-bits, int64. Only the rounding is inexact, not the scaling."""
    return (values * 2.0**bits).round().to(torch.int64)
