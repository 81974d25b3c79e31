"""What every measure of a video looks like: a meter that is shown one frame after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Score:
    """What one number of a report means.

    name: its key in records, such as "psnr_y".
    label: its heading in tables, such as "PSNR-Y".
    better: which values are better; "one" and "zero" are the values of a perfect result, None says that none is.
    digits: decimals to print.
    """

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower", "one", "zero"] | None = None
    digits: int = 2
    help: str = ""


class FrameTriple(NamedTuple):
    """One frame of a clip, in RGB, (3, H, W) float32 in [0, 1] each, with the transfer curve of the files.

    original, canvas: None where the clip has no original, or no low-quality input; the canvas is that input, enlarged
    to the size of the output by bicubic interpolation.
    """

    output: Tensor
    original: Tensor | None = None
    canvas: Tensor | None = None


class Meter(Protocol):
    """Measures one clip. It is shown frames in order and holds no more than it needs of them.

    needs: what frames must have besides the output.
    every_frame: whether it must see all frames of a clip; others may be shown a part of them.
    """

    scores: ClassVar[tuple[Score, ...]]
    needs: ClassVar[frozenset[Literal["original", "canvas"]]]
    every_frame: ClassVar[bool]

    def update(self, frame: FrameTriple) -> Mapping[str, float]:
        """Take the next frame; return the scores that belong to it alone, by name, of which there may be none."""

    def result(self) -> Mapping[str, float]:
        """Return the scores of the clip by name, without those that it cannot have, such as change of one frame."""


class FrameMeter:
    """A meter of frames by themselves: the score of a clip is the mean of its frames."""

    scores: ClassVar[tuple[Score, ...]]
    needs: ClassVar[frozenset[Literal["original", "canvas"]]] = frozenset({"original"})
    every_frame: ClassVar[bool] = False

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._frames = 0

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        """Return the scores of one frame by name."""
        raise NotImplementedError

    def update(self, frame: FrameTriple) -> Mapping[str, float]:
        scores = self.measure(frame)
        for name, value in scores.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._frames += 1
        return scores

    def result(self) -> Mapping[str, float]:
        return {name: total / self._frames for name, total in self._sums.items()}
