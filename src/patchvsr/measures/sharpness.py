"""Measure sharpness: the strength of fine detail, relative to the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.measures.luma import luma
from patchvsr.measures.meter import FrameMeter, FrameTriple, Score

SHARPNESS = Score(
    "sharpness",
    "Sharpness",
    better="one",
    digits=3,
    help="fine detail of the output over that of the original: less is soft, more is oversharpened or noisy",
)

# Half an 8-bit level, added to both sides of the ratio, so that a flat frame scores 1 instead of 0/0.
EPSILON_LEVELS = 0.5

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).view(1, 1, 3, 3)


def detail_levels(frame: Tensor) -> float:
    """Return the root mean square of the 3x3 Laplacian of BT.601 luma, in 8-bit levels, of a frame (3, H, W)."""
    return float(F.conv2d(luma(frame[None], "bt601"), _LAPLACIAN).square().mean().sqrt())


class SharpnessMeter(FrameMeter):
    """Score the fine detail of the output over that of the original. It says how much there is, not whether it fits."""

    scores: ClassVar[tuple[Score, ...]] = (SHARPNESS,)

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        assert frame.original is not None
        output, original = detail_levels(frame.output), detail_levels(frame.original)
        return {"sharpness": (output + EPSILON_LEVELS) / (original + EPSILON_LEVELS)}
