"""Measure temporal consistency: change from frame to frame, and along the motion of the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from patchvsr.measures.flicker import change_levels, flicker_score
from patchvsr.measures.meter import FrameMeter, FrameTriple, Score
from patchvsr.media.lossless import to_array


class WarpingMeter(FrameMeter):
    """Mean absolute difference to the previous frame, warped along the optical flow of the *original*, in 8-bit levels.

    Only places count where forward and backward flow agree, so that what is hidden or appears does not (Lai et al.,
    "Learning Blind Video Temporal Consistency", ECCV 2018, eq. 11 and 12, as a mean of absolute differences). The flow
    is OpenCV's DIS, preset medium, on 8-bit grey. The original has an error of its own, which is measured as well: less
    than that is blur rather than steadiness.
    """

    scores = (
        Score("warping_error", "Warping error", "levels", "lower", 2, "change along the original's flow (DIS, medium)"),
        Score("warping_error_original", "of original", "levels", None, 2, "warping error of the original itself"),
    )
    every_frame = True

    def __init__(self) -> None:
        super().__init__()
        self._before: tuple[Tensor, Tensor, np.ndarray] | None = None
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        assert frame.original is not None
        grey = cv2.cvtColor(to_array(frame.original), cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, (frame.output, frame.original, grey)
        if before is None or frame.is_cut:
            return {}
        x, y, seen = self._origins(before[2], grey)
        names = "warping_error", "warping_error_original"
        pairs = (before[0], frame.output), (before[1], frame.original)
        return {name: _difference(*pair, x, y, seen) for name, pair in zip(names, pairs, strict=True)}

    def _origins(self, before: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where every pixel came from, x and y (H, W), and whether it was seen before."""
        back, forth = self._flow.calc(grey, before, None), self._flow.calc(before, grey, None)
        place = np.indices(grey.shape, dtype=np.float32)[::-1].transpose(1, 2, 0) + back
        x, y = place[..., 0].copy(), place[..., 1].copy()
        returned = back + cv2.remap(forth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        size = (back**2).sum(axis=-1) + (forth**2).sum(axis=-1)
        height, width = grey.shape
        seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        return x, y, seen & ((returned**2).sum(axis=-1) <= 0.01 * size + 0.5)


class FlickerMeter(FrameMeter):
    """Change from frame to frame relative to that of the bicubic canvas; see `flicker_score`."""

    scores = (
        Score("flicker", "Flicker", "", None, 3, "change from frame to frame over that of bicubic"),
        Score("change", "Change", "levels", None, 2, "mean absolute difference to the previous frame"),
    )
    needs = frozenset({"canvas"})
    every_frame = True

    def __init__(self) -> None:
        super().__init__()
        self._before: FrameTriple | None = None
        self._changes: list[tuple[float, float]] = []  # of output and canvas

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        assert frame.canvas is not None
        before, self._before = self._before, frame
        if before is None or frame.is_cut:
            return {}
        assert before.canvas is not None
        self._changes.append((change_levels(before.output, frame.output), change_levels(before.canvas, frame.canvas)))
        output, canvas = self._changes[-1]
        return {"change": output, "flicker": flicker_score([output], [canvas])}

    def result(self) -> Mapping[str, float]:
        """Return the means; flicker is the ratio of the mean changes, not the mean of ratios."""
        if not self._changes:
            return {}
        output, canvas = zip(*self._changes, strict=True)
        return {**super().result(), "flicker": flicker_score(output, canvas)}


def _difference(before: Tensor, after: Tensor, x: np.ndarray, y: np.ndarray, seen: np.ndarray) -> float:
    """Return the mean absolute difference of a frame to the one before it, moved, where `seen`, in levels."""
    moved = cv2.remap(_floats(before), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(moved - _floats(after)).mean(axis=-1)
    return 255 * float(difference[seen].mean()) if seen.any() else 0.0


def _floats(frame: Tensor) -> np.ndarray:
    return frame.permute(1, 2, 0).contiguous().float().numpy()
