"""Convert clips from and to the formats of callers: tensors, arrays, images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchvsr.errors import SettingsError


def as_frames(video: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
    """Return a clip in any accepted format as (F, 3, h, w) float32 in [0, 1].

    Raises SettingsError for another shape or range.
    """
    if isinstance(video, Tensor):
        frames = video.detach().float().cpu()
    else:
        array = np.asarray(video) if isinstance(video, np.ndarray) else np.stack([np.asarray(image) for image in video])
        depth = float(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else 1.0
        frames = torch.from_numpy(np.ascontiguousarray(array)).movedim(-1, 1).float().div_(depth)
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise SettingsError(
            f"got a video of shape {tuple(frames.shape)}: needed are frames (F, 3, h, w) as a tensor, "
            "(F, h, w, 3) as an array, or RGB images"
        )
    if not (frames.amin() >= 0 and frames.amax() <= 1):  # also catches NaN
        raise SettingsError("float frames must lie in [0, 1]")
    return frames


def as_output(frames: Tensor, output_type: str) -> Any:
    """Convert frames (F, 3, H, W) in [0, 1] to "pt" (unchanged), "np" (F, H, W, 3) or "pil"."""
    if output_type == "pt":
        return frames
    array = frames.permute(0, 2, 3, 1).numpy()
    if output_type == "np":
        return array
    from PIL import Image

    return [Image.fromarray((frame * 255).round().astype(np.uint8)) for frame in array]
