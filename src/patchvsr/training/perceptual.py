"""Compare frames as a classifier sees them: a loss for detail that cannot be inferred pixel by pixel."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # its packages are an extra
    from patchvsr.measures.features import ImageFeatures


def perceptual(output: Tensor, target: Tensor, *, every: int = 3) -> Tensor:
    """Return the mean distance of every n-th frame of videos (N, 3, F, H, W) in [-1, 1], in features of Lite0.

    Models are judged by Lite1 (`measures.features`), never by the network of their loss.

    Raises PatchVSRError if the packages of the network are not installed.
    """
    from patchvsr.measures.features import feature_distance

    network = classifier(output.device)
    shown = [clip[:, :, ::every].transpose(1, 2).flatten(0, 1).float().add(1).div(2) for clip in (output, target)]
    with torch.no_grad():
        wanted = network(shown[1])
    return feature_distance(network(shown[0]), wanted).mean()


@cache
def classifier(device: torch.device) -> ImageFeatures:
    """Return the network that losses see with: Lite0."""
    from patchvsr.measures.features import ImageFeatures

    return ImageFeatures("lite0").to(device)
