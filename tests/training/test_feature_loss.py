"""The loss that compares frames as a classifier sees them."""

import pytest
import torch

from patchvsr.training.perceptual import perceptual


@pytest.mark.parametrize("frame", range(5))
def test_features_of_every_frame_count(frame: int) -> None:
    """A decoder knows the place of a frame in its cell, and learnt nothing for places that were not looked at."""
    target = torch.rand(1, 3, 5, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output = target.clone()
    output[:, :, frame] = 0
    assert perceptual(output, target) > 0.1 * perceptual(torch.zeros_like(target), target)
