"""Luma of RGB frames, as the measures of the literature and of video players see it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

# Weights of R, G, B in luma (ITU-R BT.601 and BT.709).
_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}


def luma(rgb: Tensor, matrix: Literal["bt601", "bt709"]) -> Tensor:
    """Return limited-range luma, 16 (black) to 235 (white), of frames rounded to 8 bits.

    Args:
        rgb: (F, 3, H, W) in [0, 1].

    Returns:
        (F, 1, H, W) float32, not rounded.
    """
    levels = (rgb.clamp(0, 1) * 255).round().to(torch.float32)
    weights = torch.tensor(_WEIGHTS[matrix], device=rgb.device).view(1, 3, 1, 1)
    return 16 + (levels * weights).sum(dim=1, keepdim=True) * (219 / 255)
