"""Compare two versions of a picture at a small size, to find one that is black, shifted, tinted or otherwise wrong.

Both are reduced to the same grid of cells by averaging. Restoration changes detail inside a cell, but hardly a cell's
mean; every fault above changes many means. The limits are measured on real footage by benchmarks/false_alarms.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import permutations
from math import ceil, gcd
from typing import TYPE_CHECKING

import numpy as np

from patchvsr.errors import UnfaithfulError
from patchvsr.pixels.size import Size

if TYPE_CHECKING:
    from torch import Tensor

DECODING = "decoding"  # the stage, as errors name it

# Small enough to cost little, fine enough to see a shift of a few pixels.
GRID_CELLS = 96  # along the longer side, at most
MIN_CELL_PX = 2  # of the input: averages over less would compare the noise of the input
ENCODED_CELL_PX = 6  # of the output: over less, subsampled chroma would count

_BLOCKS = 8  # along the longer side: a wrong tile or patch covers at least one
_LEAST_BLOCK = 6  # cells; the mean of fewer depends on the noise of the input
_FLAT = 2.0  # levels of 255: a picture with less contrast shows nothing that could be shifted or swapped
_FAINT = 6.0  # levels of 255, added to the contrast: removing the noise of a nearly flat picture changes most of it
_BETTER = 0.5  # a fault is named if undoing it leaves at most this part of the difference
# Undoing a true shift leaves 0.1 to 0.6 of the difference, and on real footage without one nothing less than 0.96.
_SHIFTED = 0.8
_EDGES = 0.25  # added to the mean squared gradient: without edges in a direction, a shift in it cannot be seen
_ORDERS = [order for order in permutations(range(3)) if order != (0, 1, 2)]
_TURNS = {"upside down": (0,), "mirrored": (1,), "turned by 180 degrees": (0, 1)}


@dataclass(frozen=True)
class Limits:
    """The largest values of a `Comparison` that count as the same picture."""

    tint: float
    block: float
    change: float
    shift: float

    def plus(self, others: Limits) -> Limits:
        """Return the limits of two steps together."""
        return Limits(*(getattr(self, f.name) + getattr(others, f.name) for f in fields(self)))


# At least twice the largest values of real footage, clean and degraded (docs/experiments.md).
# ENCODED allows for faint detail that an encoder repeats from the last frame although it moves.
# DECODED is wider: matching the colours, which follows, removes a tint, and other models may drift more than ours.
DECODED = Limits(tint=15, block=30, change=0.5, shift=0.12)  # of a frame before its colours are matched
MATCHED = Limits(tint=1, block=8, change=0.5, shift=0.08)  # of a restored frame
UNMATCHED = Limits(tint=5, block=10, change=0.5, shift=0.12)  # of a restored frame whose colours are not matched
ENCODED = Limits(tint=2, block=6, change=0.25, shift=0.5)  # of an encoded frame, compared with the restored one
COARSE = Limits(tint=8, block=50, change=1.0, shift=0.5)  # the same at a quality below the default


@dataclass(frozen=True)
class Comparison:
    """How the second of two thumbnails differs from the first, in levels of 255 unless said.

    tint: largest mean difference of a channel.
    block: largest mean difference of a channel within a block of cells.
    change: RMS difference apart from the mean, relative to the contrast of the first, which gets `_FAINT` added.
    shift: (x, y) in cells, positive to the right and down, 0 if no shift explains the difference.
    undone: what would have to be undone to remove most of the difference: a swap of channels, or a reflection.
    """

    tint: float
    block: float
    change: float
    shift: tuple[float, float]
    undone: str | None


def grid_of(*sizes: Size, min_cell_px: int = MIN_CELL_PX) -> Size:
    """Return the grid, in cells, on which pictures of these sizes are compared. min_cell_px: of the smallest one."""
    smallest = Size(*map(min, zip(*sizes, strict=True)))
    cell_px = max(min_cell_px, max(smallest) / GRID_CELLS)
    whole = next((px for px in range(ceil(cell_px), int(1.5 * cell_px) + 1) if gcd(*smallest) % px == 0), None)
    cell_px = whole or cell_px  # whole pixels are averaged several times as fast
    return Size(*(max(1, round(side / cell_px)) for side in smallest))


def thumbnail(picture: np.ndarray, grid: Size) -> np.ndarray:
    """Return the mean of every cell, (grid.height, grid.width, 3) float32 in levels of 255.

    picture: (h, w, 3), uint8 or uint16 over their whole range, or float32 in [0, 1]; at least as large as the grid.
    """
    peak = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
    return cell_means(picture, grid).astype(np.float32) * np.float32(255 / peak)


def cell_means(picture: np.ndarray, grid: Size) -> np.ndarray:
    """Return the mean of every cell, (grid.height, grid.width, ...) in the dtype of `picture` (h, w, ...)."""
    import cv2  # slow to import

    means = cv2.resize(picture, tuple(grid), interpolation=cv2.INTER_AREA)
    return means.reshape(grid.height, grid.width, *picture.shape[2:])


def compare(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare thumbnails (h, w, 3) of equal size."""
    difference = second - first
    means = difference.mean((0, 1))
    contrast = _rms(first - first.mean((0, 1)))
    return Comparison(
        tint=float(np.abs(means).max()),
        block=float(np.abs(_block_means(difference)).max()),
        change=_rms(difference - means) / (contrast + _FAINT),
        shift=_shift(first, second),
        undone=_undone(first, second),
    )


def check(given: np.ndarray, made: np.ndarray, limits: Limits, stage: str, frame: int) -> None:
    """Compare a picture (h, w, 3) with the one that was made of it.

    Raises UnfaithfulError, which names `stage` and `frame`.
    """
    grid = grid_of(size_of(given), size_of(made))
    fault = find_fault(thumbnail(given, grid), thumbnail(made, grid), limits, size_of(made))
    if fault is not None:
        raise UnfaithfulError(stage, frame, fault)


def size_of(picture: np.ndarray) -> Size:
    """Return the size of a picture (h, w, 3)."""
    return Size(picture.shape[1], picture.shape[0])


def check_decoded(video: Tensor, canvas: Tensor, input_size: Size, first_frame: int) -> None:
    """Check frames as decoded against the canvas, both (3, F, H, W) in [-1, 1] on the CPU.

    Matching the colours, which follows, would turn a black picture into a blurred one and hide swapped channels.

    Raises UnfaithfulError. first_frame: number of the first frame in its clip.
    """
    size = Size.of(video)
    grid = grid_of(size, input_size)
    for index in range(video.shape[1]):
        given, made = (
            np.stack([cell_means(plane.numpy(), grid) for plane in picture[:, index]], -1) * np.float32(127.5) + 127.5
            for picture in (canvas, video)
        )
        fault = find_fault(given, made, DECODED, size)
        if fault is not None:
            raise UnfaithfulError(DECODING, first_frame + index, fault)


def find_fault(first: np.ndarray, second: np.ndarray, limits: Limits, size: Size) -> str | None:
    """Return in words how the second thumbnail is wrong, or None. size: of its picture, to express a shift."""
    found = compare(first, second)
    shifted = max(map(abs, found.shift)) > limits.shift
    changed = found.tint > limits.tint or found.block > limits.block or found.change > limits.change
    if not (shifted or changed or found.undone):
        return None
    was, now = first.mean((0, 1)), second.mean((0, 1))
    if _rms(second - now) < 0.25 * _rms(first - was) or _rms(first - was) < _FLAT:
        if second.max() < 1:
            return f"is black where it should not be (mean {now.mean():.1f} of 255 instead of {was.mean():.1f})"
        if _rms(second - now) < _FLAT <= _rms(first - was):
            return f"is a flat colour (contrast {_rms(second - now):.1f} of 255 instead of {_rms(first - was):.1f})"
    if found.undone:
        return found.undone
    if shifted:
        x, y = found.shift[0] * size.width / first.shape[1], found.shift[1] * size.height / first.shape[0]
        across, along = _to(x, "right", "left"), _to(y, "down", "up")
        return f"is shifted by about {abs(x):.0f} pixels {across} and {abs(y):.0f} {along}"
    wrong = np.abs(_block_means(second - first)).max(-1) > limits.block
    if 0 < wrong.mean() < 0.5 and found.block > 3 * found.tint:
        row, column = (
            100 * (index.mean() + 0.5) / count for index, count in zip(wrong.nonzero(), wrong.shape, strict=True)
        )
        return (
            f"is wrong in a part, around {column:.0f} % of its width and {row:.0f} % of its height "
            f"(a difference of {found.block:.1f} of 255; {limits.block:g} is allowed)"
        )
    if found.change > limits.change:
        return f"shows something else (it differs by {found.change:.2f} of the contrast; {limits.change:g} is allowed)"
    red, green, blue = now - was
    return f"has another tint (red {red:+.1f}, green {green:+.1f}, blue {blue:+.1f} of 255; {limits.tint:g} is allowed)"


def _to(value: float, positive: str, negative: str) -> str:
    return positive if value >= 0 else negative


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _block_means(difference: np.ndarray) -> np.ndarray:
    """Return the mean of blocks of cells, (rows, columns, 3)."""
    height, width = difference.shape[:2]
    side = max(_LEAST_BLOCK, max(height, width) // _BLOCKS)
    rows, columns = (np.arange(0, max(1, length - side // 2), side) for length in (height, width))
    sums = np.add.reduceat(np.add.reduceat(difference, rows, 0, dtype=np.float64), columns, 1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return sums / counts[..., None]


def _shift(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the shift (x, y) in cells by least squares (Lucas and Kanade 1981) over all cells and channels."""
    if min(first.shape[:2]) < 5:
        return 0.0, 0.0
    first, second = _smooth(first), _smooth(second)
    difference = (second - first)[1:-1, 1:-1]
    difference = difference - difference.mean((0, 1))
    mean = (first + second) / 2
    along_x = (mean[1:-1, 2:] - mean[1:-1, :-2]) / 2
    along_y = (mean[2:, 1:-1] - mean[:-2, 1:-1]) / 2
    xx, yy, xy = (float((a * b).mean()) for a, b in ((along_x, along_x), (along_y, along_y), (along_x, along_y)))
    xd, yd = float((along_x * difference).mean()), float((along_y * difference).mean())
    xx, yy = xx + _EDGES, yy + _EDGES
    determinant = xx * yy - xy * xy
    x, y = (xy * yd - yy * xd) / determinant, (xy * xd - xx * yd) / determinant
    remaining = _rms(difference + x * along_x + y * along_y)
    return (x, y) if remaining < _SHIFTED * _rms(difference) else (0.0, 0.0)


def _smooth(picture: np.ndarray) -> np.ndarray:
    picture = (picture[:-2] + 2 * picture[1:-1] + picture[2:]) / 4
    return (picture[:, :-2] + 2 * picture[:, 1:-1] + picture[:, 2:]) / 4


def _undone(first: np.ndarray, second: np.ndarray) -> str | None:
    """Return which swap of channels or reflection explains the difference, None if none does."""
    remaining = _rms(second - first)
    if remaining < _FLAT:
        return None
    for order in _ORDERS:
        if _rms(second - first[..., order]) < _BETTER * remaining:
            return f"has its channels in the order {''.join('RGB'[channel] for channel in order)}"
    for name, axes in _TURNS.items():
        if _rms(second - np.flip(first, axes)) < _BETTER * remaining:
            return f"is {name}"
    return None
