"""Frames as tensors: (3, H, W) in [0, 1], from files and as 8-bit pixels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from patchvsr.media.reader import open_reader


def to_tensor(rgb: np.ndarray) -> Tensor:
    """Return pixels (h, w, 3), uint8 or uint16, as float32 (3, h, w) in [0, 1]."""
    return torch.from_numpy(rgb).permute(2, 0, 1).to(torch.float32) / float(np.iinfo(rgb.dtype).max)


def to_array(frame: Tensor) -> np.ndarray:
    """Return a frame (3, H, W) in [0, 1] as 8-bit RGB, a contiguous (H, W, 3) array."""
    return np.ascontiguousarray((frame.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def read_rgb(path: str | Path, *, max_frames: int | None = None) -> Iterator[Tensor]:
    """Yield the frames of a video file or an image sequence, float32 (3, H, W) in [0, 1] each.

    Raises:
        InputError: as `open_reader` does, on opening and while reading.
    """
    with open_reader(path) as reader:
        for frame in islice(reader, max_frames):
            yield to_tensor(frame.rgb)
