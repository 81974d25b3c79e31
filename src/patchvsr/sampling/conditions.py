"""What the model is told about the input: the canvas."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize_bicubic(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """(F, 3, h, w) in [0, 1] -> (F, 3, H, W), antialiased bicubic: the canvas of training and of upscaling alike."""
    return F.interpolate(frames, size=size, mode="bicubic", antialias=True).clamp_(0, 1)
