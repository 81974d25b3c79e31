"""The one resize: canvases of training and of upscaling, reductions and baselines all use it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from patchvsr.pixels.size import Size


def resize_bicubic(frames: Tensor, size: Size) -> Tensor:
    """Resize (F, C, h, w) in [0, 1] to `size` with an antialiased bicubic kernel, clamped to [0, 1]."""
    # antialias also picks the kernel: a = -0.5 with it, -0.75 without.
    return F.interpolate(frames, size=(size.height, size.width), mode="bicubic", antialias=True).clamp_(0, 1)
