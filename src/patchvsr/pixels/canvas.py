"""The canvas of a clip: its frames enlarged to the output size, each made when it is needed."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size


class ClipCanvas(Sequence[Tensor]):
    """Frames (3, H, W) in [-1, 1], made anew at each access: a float32 frame of 4K takes 100 MB.

    lq: low-quality frames (3, h, w) in [0, 1].
    size: of the output.
    padded: of the canvas, at least `size`; pixels outside of the output repeat its last row and column.
    length: number of frames, at least that of `lq` (`num_frames`); the last one is repeated.
    """

    def __init__(self, lq: Sequence[Tensor] | Tensor, size: Size, padded: Size, length: int) -> None:
        self._lq, self.size, self.padded, self._length = lq, size, padded, length
        self.num_frames = len(lq)
        self.source = Size.of(lq[0])
        self.scale = size.height / self.source.height

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Tensor:  # type: ignore[override]
        if not 0 <= number < self._length:
            raise IndexError(number)
        lq = self._lq[min(number, self.num_frames - 1)]
        frame = resize_bicubic(lq.unsqueeze(0), self.size).mul_(2).sub_(1)
        margins = 0, self.padded.width - self.size.width, 0, self.padded.height - self.size.height
        return F.pad(frame, margins, mode="replicate")[0] if any(margins) else frame[0]
