"""Measure temporal consistency: change from frame to frame, and along the motion of the original."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch import Tensor

from patchvsr.measures.flicker import change_levels
from patchvsr.media.lossless import to_array


class TemporalMeter:
    """Accumulate measures over pairs of consecutive frames.

    change: mean absolute difference to the previous frame in 8-bit levels, as in `flicker_score`.
    warping_error: the same after the previous frame is warped along the optical flow between the *original* frames,
        where forward and backward flow agree (Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018,
        eq. 11 and 12, as a mean of absolute differences). The flow is OpenCV's DIS, preset medium, on 8-bit grey.
    """

    def __init__(self) -> None:
        self._before: tuple[Tensor, np.ndarray] | None = None
        self._changes: list[float] = []
        self._errors: list[float] = []
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add the next frame: restored and original, both (3, H, W) in [0, 1]."""
        grey = cv2.cvtColor(to_array(target), cv2.COLOR_RGB2GRAY)
        if self._before is not None:
            before, grey_before = self._before
            self._changes.append(change_levels(before, pred))
            self._errors.append(self._warping_error(before, pred, grey_before, grey))
        self._before = pred, grey

    def result(self) -> dict[str, float]:
        """Return means over the pairs, `change` and `warping_error`; empty for fewer than two frames."""
        if not self._changes:
            return {}
        return {"change": float(np.mean(self._changes)), "warping_error": float(np.mean(self._errors))}

    def _warping_error(self, before: Tensor, pred: Tensor, grey_before: np.ndarray, grey: np.ndarray) -> float:
        back, forth = self._flow.calc(grey, grey_before, None), self._flow.calc(grey_before, grey, None)
        place = np.indices(grey.shape, dtype=np.float32)[::-1].transpose(1, 2, 0) + back
        x, y = place[..., 0].copy(), place[..., 1].copy()
        returned = back + cv2.remap(forth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        size = (back**2).sum(axis=-1) + (forth**2).sum(axis=-1)
        height, width = grey.shape
        seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        seen &= (returned**2).sum(axis=-1) <= 0.01 * size + 0.5
        moved = cv2.remap(_floats(before), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        difference = np.abs(moved - _floats(pred)).mean(axis=-1)
        return 255 * float(difference[seen].mean()) if seen.any() else 0.0


def _floats(frame: Tensor) -> np.ndarray:
    return frame.permute(1, 2, 0).contiguous().float().numpy()
