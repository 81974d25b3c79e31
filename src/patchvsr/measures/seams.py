"""Measure seams at patch lines and jumps at chunk joins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from patchvsr.errors import InputError
from patchvsr.measures.meter import FrameTriple, Need, Score

Lines = tuple[Sequence[int], Sequence[int]]  # rows, columns

# Half an 8-bit level, the rounding error of an 8-bit file. Added to both sides of each ratio, so that a flat picture
# scores 1 instead of 0/0, and steps far below the precision of a file do not count as seams.
EPSILON = 0.5 / 255

WINDOW_PX = 48

# A line lies between two pixels, but the decoder spreads a step over its neighbours.
_SPREAD_PX = 1

# Frame differences on either side of a chunk join that say what change is normal there.
_NEIGHBOURS = 4


class SeamMeter:
    """Accumulate the seam score of a video, in pieces of any length and constant memory.

    The absolute step between neighbouring pixels is averaged over time, colour and the whole length of every row
    (column) border. A seam is a peak of this profile at a patch line.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._rows: Tensor | None = None  # (H - 1,) sums of the mean step across each row border
        self._columns: Tensor | None = None  # (W - 1,)

    def __bool__(self) -> bool:
        """Return whether it has seen a frame."""
        return self._frames > 0

    def update(self, frames: Tensor) -> None:
        """Add frames, (F, 3, H, W) in [0, 1]."""
        for frame in frames.to(torch.float32):  # (3, H, W)
            rows = frame.diff(dim=1).abs().mean(dim=(0, 2), dtype=torch.float64)
            columns = frame.diff(dim=2).abs().mean(dim=(0, 1), dtype=torch.float64)
            self._rows = rows if self._rows is None else self._rows + rows
            self._columns = columns if self._columns is None else self._columns + columns
            self._frames += 1

    def add(self, other: SeamMeter) -> None:
        """Merge another meter that has seen frames of the same size."""
        if self._rows is None or self._columns is None:
            self._rows, self._columns = other._rows, other._columns
        elif other._rows is not None and other._columns is not None:
            self._rows, self._columns = self._rows + other._rows, self._columns + other._columns
        self._frames += other._frames

    def scores(self, lines_y: Iterable[int], lines_x: Iterable[int]) -> dict[str, float]:
        """Return the score of every line, named `y=...` or `x=...`: its peak over the median within 48 px.

        Args:
            lines_y: horizontal patch lines in pixels; line y lies between rows y - 1 and y.
            lines_x: vertical patch lines in pixels.

        Raises:
            InputError: there are no frames, or a line is not inside the frame.
        """
        if self._rows is None or self._columns is None:
            raise InputError("no frames to look for seams in")
        rows, columns = self._rows / self._frames, self._columns / self._frames
        return {f"y={y}": _peak(rows, y) for y in lines_y} | {f"x={x}": _peak(columns, x) for x in lines_x}


class SeamRatioMeter:
    """Mean score of the patch lines over that of control lines, where no patch ends, and the worst patch line.

    The score of each line is taken over that of the canvas at the same line, if there is one: a contour of the picture
    that runs along a line is on both. On our validation clips, a picture without seams then scores 0.94 to 1.01
    instead of 0.89 to 1.62, and a step of one 8-bit level between neighbouring patches 1.14 on average.
    """

    scores = (
        Score(
            "seam_ratio",
            "Seam ratio",
            "",
            "one",
            3,
            "mean peak at patch lines over that at control lines, both over those of bicubic at the same places",
        ),
        Score("worst_seam", "Worst seam", "", "one", 2, "peak of the worst patch line, over that of bicubic"),
    )
    needs: frozenset[Need] = frozenset()
    every_frame = False

    def __init__(self, lines: Lines, control: Lines):
        """`lines` and `control`: rows and columns in pixels."""
        self._lines, self._control = lines, control
        self._output, self._canvas = SeamMeter(), SeamMeter()

    def update(self, frame: FrameTriple) -> None:
        self._output.update(frame.output[None])
        if frame.canvas is not None:
            self._canvas.update(frame.canvas[None])

    def per_frame(self) -> Mapping[str, Sequence[float | None]]:
        return {}

    def result(self) -> Mapping[str, float]:
        at_lines, at_control = self._scores(self._lines), self._scores(self._control)
        if not at_lines or not at_control:
            return {}
        return {"seam_ratio": fmean(at_lines) / fmean(at_control), "worst_seam": max(at_lines)}

    def _scores(self, lines: Lines) -> list[float]:
        output = self._output.scores(*lines)
        canvas = self._canvas.scores(*lines) if self._canvas else dict.fromkeys(output, 1.0)
        return [output[line] / canvas[line] for line in output]


class JoinMeter:
    """How much the change at each chunk join exceeds the changes around it; see `join_jump`. Mean of the joins."""

    scores = (Score("join_jump", "Join jump", "", "one", 3, "change at chunk joins over the changes around them"),)
    needs: frozenset[Need] = frozenset()
    every_frame = True

    def __init__(self, joins: Sequence[int]):
        """`joins`: index of the first frame of every chunk but the first, inside shots."""
        self._joins = joins
        self._before: Tensor | None = None
        self._changes: list[float] = []

    def update(self, frame: FrameTriple) -> None:
        if self._before is not None:
            self._changes.append(float((frame.output - self._before).abs().mean()))
        self._before = frame.output

    def per_frame(self) -> Mapping[str, Sequence[float | None]]:
        return {}

    def result(self) -> Mapping[str, float]:
        jumps = [_jump(self._changes, join) for join in self._joins]
        return {"join_jump": fmean(jumps)} if jumps else {}


def _peak(steps: Tensor, line: int) -> float:
    """Return the largest step at `line` over the median around it; `steps[i]` is between pixels i and i + 1."""
    if not 0 < line <= len(steps):
        raise InputError(f"patch line {line} is not inside a frame of {len(steps) + 1} px")
    at = line - 1
    peak = steps[max(at - _SPREAD_PX, 0) : at + _SPREAD_PX + 1].max()
    around = steps[max(at - WINDOW_PX, 0) : at + WINDOW_PX + 1].quantile(0.5)
    return float((peak + EPSILON) / (around + EPSILON))


def seam_score(frames: Tensor, lines_y: Sequence[int], lines_x: Sequence[int]) -> float:
    """Return the score of the worst patch line: 1.0 is no seam, 2.0 a step twice as high as its surroundings.

    Detail along the line masks a seam for the eye and for this measure, so measure flat material first. A contour of
    the picture that runs exactly along a line (or the banding of an 8-bit ramp) counts as well, so compare with the
    score of the bicubic canvas.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        lines_y: rows at which a patch starts or ends inside the frame, in pixels.
        lines_x: columns, likewise.

    Raises:
        InputError: there are no frames, or a line is not inside the frame.
    """
    meter = SeamMeter()
    meter.update(frames)
    return max(meter.scores(lines_y, lines_x).values(), default=1.0)


def join_jump(frames: Tensor, joins: Sequence[int]) -> list[float]:
    """Return how much the change at each chunk join exceeds the changes before and after it; 1.0 is no jump.

    The score is the mean absolute difference of the two frames at the join over the median of the four differences on
    either side. It needs no optical flow, whose errors could hide a jump or simulate one.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        joins: index of the first frame of every chunk but the first.

    Raises:
        InputError: a join is not inside the clip, or has no neighbouring differences.
    """
    changes = [float((after - before).abs().mean()) for before, after in pairwise(frames)]
    return [_jump(changes, join) for join in joins]


def _jump(changes: Sequence[float], join: int) -> float:
    """Return the jump at one join; `changes[i]` is between frames i and i + 1."""
    at = join - 1
    around = torch.tensor([*changes[max(at - _NEIGHBOURS, 0) : max(at, 0)], *changes[join : join + _NEIGHBOURS]])
    if not 0 < join <= len(changes) or len(around) == 0:
        raise InputError(f"no frames on both sides of a join at {join}; the clip has {len(changes) + 1} frames")
    return (changes[at] + EPSILON) / (float(around.quantile(0.5)) + EPSILON)
