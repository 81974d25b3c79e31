"""Tile the latent canvas with boxes, as the product of windows along time, height and width.

All geometry is in integers, in latent cells, so the same canvas always gets the same boxes and weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor

from patchvsr.errors import SettingsError
from patchvsr.patches.windows import WEIGHT_UNIT, Line, windows
from patchvsr.pixels.size import Size

Triple = tuple[int, int, int]
Area = tuple[int, int, int, int]  # half-open ranges of height and width: (y0, y1, x0, x1)

AXES = ("frames", "height", "width")


@dataclass(frozen=True, order=True)
class Box:
    """The position of a patch: half-open ranges of time, height and width. Boxes sort in that order."""

    t0: int
    t1: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> Triple:
        """(T, H, W) of the box."""
        return self.t1 - self.t0, self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[EllipsisType, slice, slice, slice]:
        """The index of the box into the last three dimensions of a (..., T, H, W) tensor."""
        return ..., slice(self.t0, self.t1), slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class WeightedBox:
    """A box and its weights along time, height and width, in units of 1/256."""

    box: Box
    profiles: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def weight(self) -> Tensor:
        """Return weights (t, h, w), exact in float32; over a tiling they sum to 1 at every cell."""
        t, y, x = (torch.tensor(profile, dtype=torch.int32) for profile in self.profiles)
        return (t[:, None, None] * y[:, None] * x).to(torch.float32) / WEIGHT_UNIT**3


def tiling(
    shape: Sequence[int],
    patch: Sequence[int],
    mode: str,
    *,
    multiple: Sequence[int] = (1, 2, 2),
    overlap: float = 0.25,
    step: int = 0,
) -> tuple[WeightedBox, ...]:
    """Return boxes of exactly `patch` that cover a canvas, in ascending order, with weights that sum to exactly 1.

    Args:
        shape: canvas (T, H, W) in latent cells, padded where needed (see `padded_length`).
        patch: box (t, h, w) in latent cells.
        mode: a joint mode: `auxiliary` (PatchVSR's multi-patch joint modulation), `overlap`, `shifted` or
            `independent`; see `patchvsr.patches.windows`.
        multiple: the transformer's token size (t, h, w); boxes start on whole tokens.
        overlap: minimum fraction that neighbours share in mode `overlap`.
        step: denoising step; only mode `shifted` depends on it.

    Raises:
        SettingsError: unknown mode, overlap outside [0, 1), or a canvas that is smaller than a patch or not a whole
            number of tokens.
    """
    axes = []
    for i, (name, length, size, token) in enumerate(zip(AXES, shape, patch, multiple, strict=True)):
        try:
            # Phases a third of a period apart: at no step do split lines shift equally in two dimensions.
            axes.append(windows(Line(length, size, token), mode, overlap=overlap, step=step, phase=i / 3))
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from None
    return tuple(
        WeightedBox(
            Box(t.start, t.start + patch[0], y.start, y.start + patch[1], x.start, x.start + patch[2]),
            (t.weights, y.weights, x.weights),
        )
        for t, y, x in product(*axes)
    )


def needed_boxes(tilings: Sequence[Sequence[WeightedBox]], area: Area) -> list[set[Box]]:
    """Return the boxes of every step on which the final latents of an area (in cells) depend.

    The input of a box comes from all boxes of the previous step that overlap it, so the receptive field grows backwards
    and the first step needs the most boxes.

    tilings: those of all steps, in order.
    """
    needed = []
    for boxes in reversed([[weighted.box for weighted in tiles] for tiles in tilings]):
        y0, y1, x0, x1 = area
        touching = {box for box in boxes if box.y0 < y1 and y0 < box.y1 and box.x0 < x1 and x0 < box.x1}
        needed.append(touching)
        area = (
            min(box.y0 for box in touching),
            max(box.y1 for box in touching),
            min(box.x0 for box in touching),
            max(box.x1 for box in touching),
        )
    return needed[::-1]


def grown(area: Area, by: int, multiple: int, size: Size) -> Area:
    """Return an area with a margin of `by`, rounded outwards to multiples and clipped to `size`."""
    y0, y1, x0, x1 = area
    starts = [max(0, (start - by) // multiple * multiple) for start in (y0, x0)]
    stops = [min(side, -(-(stop + by) // multiple) * multiple) for stop, side in ((y1, size.height), (x1, size.width))]
    return starts[0], stops[0], starts[1], stops[1]


def padded_length(length: int, patch: int, multiple: int = 1) -> int:
    """Return the smallest length in cells, in whole tokens of `multiple`, that holds `length` and one `patch`.

    Raises:
        SettingsError: a dimension is empty, or the patch is not a whole number of tokens.
    """
    if length < 1 or multiple < 1 or patch < 1 or patch % multiple:
        raise SettingsError(f"cannot pad length {length} to patches of {patch} with tokens of {multiple}")
    return max(patch, -(-length // multiple) * multiple)


def patch_lines(
    size: Size, patch_px: int, cell_px: int, mode: str = "auxiliary", *, token: int = 2, step: int = 0
) -> tuple[list[int], list[int]]:
    """Return rows and columns in pixels where a patch starts or ends inside a frame of `size`."""
    patch = patch_px // cell_px
    height, width = (padded_length(-(-length // cell_px), patch, token) for length in (size.height, size.width))
    boxes = [weighted.box for weighted in tiling((1, height, width), (1, patch, patch), mode, step=step)]
    rows = {y * cell_px for box in boxes for y in (box.y0, box.y1)}
    columns = {x * cell_px for box in boxes for x in (box.x0, box.x1)}
    return sorted(y for y in rows if 0 < y < size.height), sorted(x for x in columns if 0 < x < size.width)


def control_lines(size: Size, cell_px: int, lines: tuple[Sequence[int], Sequence[int]]) -> tuple[list[int], list[int]]:
    """Return the other borders of latent cells, in pixels: rows and columns where no patch starts or ends.

    The grid of the latents, if it shows, then shows at these and at the patch lines alike.
    """
    rows, columns = (
        [at for at in range(cell_px, side, cell_px) if at not in taken]
        for side, taken in zip((size.height, size.width), lines, strict=True)
    )
    return rows, columns
