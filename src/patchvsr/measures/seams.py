"""Does a result show where it was put together? Seams at patch lines, jumps at chunk joins."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from patchvsr.errors import InputError

# Half an 8-bit level, the rounding error of an 8-bit file. Added to both sides of each ratio: where nothing
# changes at all the score is 1, not 0/0, and steps far below what a file can hold do not count as seams.
EPSILON = 0.5 / 255

WINDOW_PX = 48

# A line is between two pixels, but a decoder spreads a step over its neighbours.
_SPREAD_PX = 1

# Frame differences on either side of a chunk join that say what change is normal there.
_NEIGHBOURS = 4


class SeamMeter:
    """Seam score of a video, fed in pieces; memory does not grow with its length.

    The mean absolute step between neighbouring pixels is averaged over time, colour and the whole length of
    every column (row) border; a seam is a peak of this profile at a patch line.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._rows: Tensor | None = None  # (H - 1,) sums of the mean step across each row border
        self._columns: Tensor | None = None  # (W - 1,)

    def update(self, frames: Tensor) -> None:
        """Add frames, (F, 3, H, W) in [0, 1]."""
        for frame in frames.to(torch.float32):  # (3, H, W)
            rows = frame.diff(dim=1).abs().mean(dim=(0, 2), dtype=torch.float64)
            columns = frame.diff(dim=2).abs().mean(dim=(0, 1), dtype=torch.float64)
            self._rows = rows if self._rows is None else self._rows + rows
            self._columns = columns if self._columns is None else self._columns + columns
            self._frames += 1

    def add(self, other: "SeamMeter") -> None:
        """Add all that another meter has seen, of frames of the same size."""
        if self._rows is None or self._columns is None:
            self._rows, self._columns = other._rows, other._columns
        elif other._rows is not None and other._columns is not None:
            self._rows, self._columns = self._rows + other._rows, self._columns + other._columns
        self._frames += other._frames

    def scores(self, lines_y: Iterable[int], lines_x: Iterable[int]) -> dict[str, float]:
        """Score of every line, named `y=...` or `x=...`: its peak over the median of 48 px to either side.

        Args:
            lines_y: horizontal patch lines in pixels; line y lies between rows y - 1 and y.
            lines_x: vertical patch lines in pixels.

        Raises:
            InputError: no frames, or a line is not inside the frame.
        """
        if self._rows is None or self._columns is None:
            raise InputError("no frames to look for seams in")
        rows, columns = self._rows / self._frames, self._columns / self._frames
        return {f"y={y}": _peak(rows, y) for y in lines_y} | {f"x={x}": _peak(columns, x) for x in lines_x}


def _peak(steps: Tensor, line: int) -> float:
    """Largest step at `line` over the median around it; `steps[i]` is between pixels i and i + 1."""
    if not 0 < line <= len(steps):
        raise InputError(f"patch line {line} is not inside a frame of {len(steps) + 1} px")
    at = line - 1
    peak = steps[max(at - _SPREAD_PX, 0) : at + _SPREAD_PX + 1].max()
    around = steps[max(at - WINDOW_PX, 0) : at + WINDOW_PX + 1].quantile(0.5)
    return float((peak + EPSILON) / (around + EPSILON))


def seam_score(frames: Tensor, lines_y: Sequence[int], lines_x: Sequence[int]) -> float:
    """How much the worst patch line stands out: 1.0 is no seam, 2.0 a step twice as high as its surroundings.

    Detail along the line hides a seam from the eye and from this measure, so look at flat material first.
    A contour of the picture which runs exactly along a line (or the banding of an 8-bit ramp) counts as well:
    compare with the score of the bicubic canvas.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        lines_y: rows at which a patch starts or ends inside the frame, in pixels.
        lines_x: columns, likewise.

    Raises:
        InputError: no frames, or a line is not inside the frame.
    """
    meter = SeamMeter()
    meter.update(frames)
    return max(meter.scores(lines_y, lines_x).values(), default=1.0)


def join_jump(frames: Tensor, joins: Sequence[int]) -> list[float]:
    """How much the change at each chunk join stands out from the changes before and after it; 1.0 is no jump.

    The mean absolute difference of the two frames at the join over the median of the `neighbours` differences
    on either side. It needs no optical flow, so a flow's errors cannot hide a jump or make one up.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        joins: index of the first frame of every chunk but the first.

    Raises:
        InputError: a join is not inside the clip, or it has no neighbours.
    """
    # change[i] is between frames i and i + 1
    change = torch.tensor([float((after - before).abs().mean()) for before, after in pairwise(frames)])
    jumps = []
    for join in joins:
        at = join - 1
        around = torch.cat([change[max(at - _NEIGHBOURS, 0) : max(at, 0)], change[join : join + _NEIGHBOURS]])
        if not 0 < join < len(frames) or len(around) == 0:
            raise InputError(f"no frames on both sides of a join at {join}; the clip has {len(frames)} frames")
        jumps.append(float((change[at] + EPSILON) / (around.quantile(0.5) + EPSILON)))
    return jumps
