"""One decoded frame, with the time it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True, eq=False)
class Frame:
    """RGB pixels and their exact time.

    rgb: (h, w, 3), uint8 in [0, 255] or uint16 in [0, 65535]; the same transfer curve as the source.
    pts: presentation time in ticks of `time_base`; strictly increasing along a video.
    duration: ticks of `time_base` until the next frame; for the last one what the source says, if anything.
    time_base: seconds per tick.
    """

    rgb: np.ndarray
    pts: int
    duration: int | None
    time_base: Fraction

    @property
    def time_s(self) -> Fraction:
        """Presentation time in seconds, exact."""
        return self.pts * self.time_base
