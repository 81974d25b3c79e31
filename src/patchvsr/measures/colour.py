"""Measure whether an output keeps the colours of its input."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F

from patchvsr.measures.meter import FrameMeter, FrameTriple, Score

BLOCK_PX = 32


class ColourMeter(FrameMeter):
    """Mean absolute difference of R, G and B between output and canvas, each averaged over blocks of 32x32 px.

    Averaging removes the detail that an output is meant to add, and leaves tints, fading and blotches.
    """

    scores = (Score("colour_shift", "Colour shift", "levels", "zero", 2, "difference of 32x32 block means to bicubic"),)
    needs = frozenset({"canvas"})

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        assert frame.canvas is not None
        block = min(BLOCK_PX, *frame.output.shape[-2:])
        blocks = F.avg_pool2d((frame.output - frame.canvas)[None], block, ceil_mode=True, count_include_pad=False)
        return {"colour_shift": 255 * float(blocks.abs().mean())}
