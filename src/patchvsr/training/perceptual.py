"""Compare frames as a classifier sees them: a loss for detail that cannot be inferred pixel by pixel."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # its packages are an extra
    from patchvsr.measures.features import ImageFeatures


EVERY = 3  # frames: neighbours look alike, so the network sees one of them


def perceptual(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of every third frame of videos (N, 3, F, H, W) in [-1, 1], in features of Lite0.

    Models are judged by Lite1 (`measures.features`), never by the network of their loss.

    Raises PatchVSRError if the packages of the network are not installed.
    """
    from patchvsr.measures.features import feature_distance

    return feature_distance(*(features_of(clip) for clip in (output, target))).mean()


def features_of(video: Tensor) -> list[Tensor]:
    """Return the features that Lite0 finds in every third frame of videos (N, 3, F, H, W) in [-1, 1]."""
    frames = video[:, :, ::EVERY].transpose(1, 2).flatten(0, 1)
    return _network(video.device)(frames.float().add(1).div(2))


@cache
def _network(device: torch.device) -> ImageFeatures:
    from patchvsr.measures.features import ImageFeatures

    return ImageFeatures("lite0").to(device)
