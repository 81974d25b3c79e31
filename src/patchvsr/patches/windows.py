"""Place windows along one dimension and weight the cells they share.

One mechanism serves every joint mode. Windows of exactly the patch size are placed in order along the line, and each
hands over to the next on a *ramp* inside their overlap. The total weight of windows i, i + 1, ... is a curve that rises
from 0 to 1 along ramp i, and the weight of a window is the difference between its own curve and the next. The weights
therefore telescope to 1 at every cell. Because the curves are rounded to multiples of 1/256 before the subtraction, the
sum is exact.

A mode only chooses the starts and the ramps:

- `auxiliary`: PatchVSR's multi-patch joint modulation: base windows on a grid, and one more on every split line.
- `overlap`: windows that share a fraction of their length and blend over all of it.
- `shifted`: a grid without overlap whose split lines move from step to step, so that seams do not accumulate.
- `independent`: a fixed grid without overlap. Leaves seams; kept as a baseline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from patchvsr.errors import SettingsError

MODES = ("auxiliary", "overlap", "shifted", "independent")

# Weights are multiples of 1/256, so a product over three dimensions fits the 24-bit significand of float32.
WEIGHT_UNIT = 256

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Window:
    """A window over cells `[start, start + len(weights))`, with weights in units of 1/256."""

    start: int
    weights: tuple[int, ...]


@dataclass(frozen=True)
class Line:
    """A dimension of `length` cells to cover with windows of `size`, both in whole tokens of `multiple`.

    Raises:
        SettingsError: a length or size is not a whole number of tokens, or the line is shorter than a window.
    """

    length: int
    size: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if min(self.size, self.multiple) < 1:
            raise SettingsError(f"patch size {self.size} and token size {self.multiple} must be at least 1")
        if self.size % self.multiple or self.length % self.multiple:
            raise SettingsError(
                f"canvas length {self.length} and patch size {self.size} must be multiples of {self.multiple}"
            )
        if self.length < self.size:
            raise SettingsError(
                f"canvas length {self.length} is smaller than the patch size {self.size}: pad it to one patch"
            )

    def cuts(self) -> list[int]:
        """Return the ends `[0, ..., length]` of the fewest near-equal segments that each fit in a window."""
        tokens = self.length // self.multiple
        count = math.ceil(self.length / self.size)
        return [i * tokens // count * self.multiple for i in range(count + 1)]

    def start_around(self, begin: int, end: int) -> int:
        """Return the start of the window centred on `[begin, end)`, on a whole token and inside the line."""
        centred = (begin + end - self.size) // (2 * self.multiple) * self.multiple
        return min(max(centred, 0), self.length - self.size)


def windows(line: Line, mode: str, *, overlap: float = 0.25, step: int = 0, phase: float = 0.0) -> list[Window]:
    """Return the windows of `mode` on `line` in ascending order; at every cell their weights sum to exactly 256.

    Args:
        overlap: minimum fraction of the window that neighbours share in mode `overlap`.
        step: denoising step, which determines the offset in mode `shifted`.
        phase: additional offset in mode `shifted`, in periods; use a different one for each dimension.

    Raises:
        SettingsError: the mode is unknown, or the overlap is outside [0, 1).
    """
    if mode == "auxiliary":
        return _auxiliary(line)
    if mode == "overlap":
        return _overlapping(line, overlap)
    if mode == "shifted":
        return _binary(line, _shifted_cuts(line, step, phase))
    if mode == "independent":
        return _binary(line, line.cuts())
    raise SettingsError(f"unknown joint mode {mode!r}: choose one of {', '.join(MODES)}")


def _binary(line: Line, cuts: Sequence[int]) -> list[Window]:
    """Return windows with binary weights: every cell belongs only to the window of its segment."""
    starts = [line.start_around(begin, end) for begin, end in pairwise(cuts)]
    return _hand_over(line, starts, [(cut, cut) for cut in cuts[1:-1]])


def _shifted_cuts(line: Line, step: int, phase: float) -> list[int]:
    """Return cuts one window apart, with a golden-ratio offset that spreads evenly over any run of steps."""
    turn = (phase + (step + 1) * GOLDEN) % 1.0
    offset = (1 + int(turn * (line.size // line.multiple))) * line.multiple  # in (0, size]
    return [0, *range(offset, line.length, line.size), line.length]


def _auxiliary(line: Line) -> list[Window]:
    """Return windows with PatchVSR's weights: auxiliary 1 - 2d/l, base 2d/l, at distance d from the split line.

    l is the length of the segment. An auxiliary window thus has full weight on its split line and none at the middle of
    both segments. A window of an odd number of tokens is off centre, to the left. Where it does not reach the middle on
    the right, its weight ends at the centre of the first cell outside, hence the half cell.
    """
    cuts = line.cuts()
    starts = [line.start_around(cuts[0], cuts[1])]
    ramps: list[tuple[float, float]] = []
    for left, split, right in zip(cuts, cuts[1:], cuts[2:], strict=False):
        auxiliary = line.start_around(split, split)
        starts += [auxiliary, line.start_around(split, right)]
        reach = auxiliary + line.size + 0.5
        ramps += [((left + split) / 2, split), (split, min((split + right) / 2, reach))]
    return _hand_over(line, starts, ramps)


def _overlapping(line: Line, overlap: float) -> list[Window]:
    """Return the fewest evenly spaced windows that share at least `overlap`, blended over the whole overlap.

    The overlap is rounded up to whole tokens, but is at least one token shorter than the window.
    """
    if not 0 <= overlap < 1:
        raise SettingsError(f"overlap is {overlap}: it must be at least 0 and less than 1")
    window = line.size // line.multiple
    shared = min(math.ceil(round(overlap * window, 6)), window - 1)
    free = line.length // line.multiple - window
    gaps = math.ceil(free / (window - shared))
    starts = [i * free // gaps * line.multiple for i in range(gaps + 1)] if gaps else [0]
    ramps = [(start, before + line.size) for before, start in pairwise(starts)]
    return _hand_over(line, starts, ramps, smooth=True)


def _hand_over(
    line: Line, starts: Sequence[int], ramps: Sequence[tuple[float, float]], *, smooth: bool = False
) -> list[Window]:
    """Return windows at `starts`, where window i takes over from window i - 1 along `ramps[i - 1]`.

    Ramps must ascend: neither end of a ramp may precede the same end of the previous one, so that no weight is
    negative. They may have zero length. Windows with equal starts are merged.
    """
    centres = np.arange(line.length) + 0.5
    curves = [_ramp(centres, begin, end, smooth) for begin, end in ramps]
    curves = [np.full(line.length, WEIGHT_UNIT), *curves, np.zeros(line.length, dtype=int)]
    shares: dict[int, np.ndarray] = {}
    for start, taken, passed_on in zip(starts, curves, curves[1:], strict=False):
        shares[start] = shares.get(start, 0) + taken - passed_on
    return [Window(start, tuple(share[start : start + line.size].tolist())) for start, share in sorted(shares.items())]


def _ramp(centres: np.ndarray, begin: float, end: float, smooth: bool) -> np.ndarray:
    """Return 0 before `begin`, 256 after `end`, and between them a linear ramp or (smooth) half a cosine wave."""
    progress = np.clip((centres - begin) / max(end - begin, 1e-9), 0, 1)
    if smooth:
        progress = (1 - np.cos(np.pi * progress)) / 2
    return np.rint(WEIGHT_UNIT * progress).astype(int)
