"""Compare frames as a classifier sees them: a loss for detail that cannot be inferred pixel by pixel."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # its packages are an extra
    from patchvsr.measures.features import ImageFeatures


def perceptual(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of videos (N, 3, F, H, W) in [-1, 1], in features that Lite0 finds in their frames.

    Of all frames: a decoder knows the place of a frame in its cell, and learns nothing for places that no loss sees.
    Models are judged by Lite1 (`measures.features`), never by the network of their loss.

    Raises PatchVSRError if the packages of the network are not installed.
    """
    from patchvsr.measures.features import feature_distance

    return feature_distance(*(features_of(clip) for clip in (output, target))).mean()


def features_of(video: Tensor) -> list[Tensor]:
    """Return the features that Lite0 finds in all frames of videos (N, 3, F, H, W) in [-1, 1]."""
    return _network(video.device)(video.transpose(1, 2).flatten(0, 1).float().add(1).div(2))


@cache
def _network(device: torch.device) -> ImageFeatures:
    from patchvsr.measures.features import ImageFeatures

    return ImageFeatures("lite0").to(device)
