"""Carry a change of the global view over to the canvas, and split latents into low and high frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

# In latent cells: structure of a whole patch is held, what a few cells show is free.
LOW_CELLS = 8


def low_frequencies(latents: Tensor) -> Tensor:
    """Return what latents (C, T, H, W) are without detail of less than about 8 cells in space."""
    height, width = latents.shape[-2:]
    fewer = F.adaptive_avg_pool2d(latents, (-(-height // LOW_CELLS), -(-width // LOW_CELLS)))
    return F.interpolate(fewer, (height, width), mode="bilinear", align_corners=False)


class ChangedCanvas(Sequence[Tensor]):
    """Frames (3, H, W) of a canvas, each plus the enlarged change of its global view; made anew at each access.

    change: (3, F, h, w), restored view - view, in the range of the canvas.
    """

    def __init__(self, canvas: Sequence[Tensor], change: Tensor) -> None:
        self._canvas, self._change = canvas, change

    def __len__(self) -> int:
        return len(self._canvas)

    def __getitem__(self, number: int) -> Tensor:  # type: ignore[override]
        frame = self._canvas[number]
        change = self._change[:, number].unsqueeze(0).to(frame)
        larger = F.interpolate(change, frame.shape[-2:], mode="bicubic", align_corners=False)
        return (frame + larger[0]).clamp_(-1, 1)
