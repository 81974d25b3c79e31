"""What every measure of a video looks like: a meter that is shown one frame after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from patchvsr.errors import InputError

Need = Literal["original", "canvas"]


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
    is_cut: whether a shot starts with this frame, which is not true of the first.
    """

    output: Tensor
    original: Tensor | None = None
    canvas: Tensor | None = None
    is_cut: bool = False


class Meter(Protocol):
    """Measures one clip. It is shown frames in order and holds no more than it needs of them.

    needs: what frames must have besides the output.
    every_frame: whether it must see all frames of a clip; others may be shown a part of them.
    """

    @property
    def scores(self) -> tuple[Score, ...]: ...

    @property
    def needs(self) -> frozenset[Need]: ...

    @property
    def every_frame(self) -> bool: ...

    def update(self, frame: FrameTriple) -> None:
        """Take the next frame."""

    def per_frame(self) -> Mapping[str, Sequence[float | None]]:
        """Return those scores by name that frames have, a value for each frame so far, or None for one without."""

    def result(self) -> Mapping[str, float]:
        """Return the scores of the clip by name, without those that it cannot have, such as change of one frame."""


class FrameMeter:
    """A meter of frames: the score of a clip is the mean over its frames."""

    scores: ClassVar[tuple[Score, ...]]
    needs: ClassVar[frozenset[Need]] = frozenset({"original"})
    every_frame: ClassVar[bool] = False

    def __init__(self) -> None:
        self._values: list[Mapping[str, float]] = []

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        """Return the scores of the next frame by name, of which there may be none."""
        raise NotImplementedError

    def update(self, frame: FrameTriple) -> None:
        self._values.append(self.measure(frame))

    def per_frame(self) -> Mapping[str, Sequence[float | None]]:
        return {name: [values.get(name) for values in self._values] for name in self._names()}

    def result(self) -> Mapping[str, float]:
        return {name: fmean([v for v in values if v is not None]) for name, values in self.per_frame().items()}

    def _names(self) -> list[str]:
        return [score.name for score in self.scores if any(score.name in values for values in self._values)]


def measure_clip(meters: Sequence[Meter], output: Tensor, original: Tensor | None = None) -> dict[str, float]:
    """Show a clip (F, 3, H, W) in [0, 1], and its original, to new meters; return all their results.

    Raises InputError if the two differ in shape, or the clip is empty.
    """
    if original is not None and (output.shape != original.shape or output.ndim != 4 or output.shape[1] != 3):
        raise InputError(
            f"got frames {tuple(output.shape)} to compare with {tuple(original.shape)}; "
            "need two equal shapes (frames, 3, height, width)"
        )
    if not len(output):
        raise InputError("no frames were compared")
    for meter in meters:
        for index, frame in enumerate(output):
            meter.update(FrameTriple(frame, None if original is None else original[index]))
    return {name: value for meter in meters for name, value in meter.result().items()}
