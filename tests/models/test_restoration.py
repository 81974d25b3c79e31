"""Which blocks of a canvas are asked how degraded it is, and how they vote."""

from __future__ import annotations

import math

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.models.geometry import Geometry
from patchvsr.models.mini.estimator import _cosine_transform
from patchvsr.models.restoration import INDEPENDENT_VOTES, estimate_restoration, looks
from patchvsr.pixels.size import Size


class Brightness(torch.nn.Module):
    """A autoencoder whose estimate of a block is its mean, ten times; remembers what it was asked."""

    geometry, device = Geometry(16, latent_channels=4, condition_channels=4), torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, ...]] = []

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        assert scale.tolist() == [3.0]
        self.asked.append(tuple(canvas.shape))
        return 10 * canvas.mean(dim=(1, 2, 3, 4))


def estimate(canvas: Tensor, size: tuple[int, int]) -> tuple[float, list[tuple[int, ...]]]:
    autoencoder = Brightness()
    runs = (canvas[:, look.start : look.stop].unbind(1) for look in looks(range(canvas.shape[1])))
    return estimate_restoration(autoencoder, runs, Size(*size[::-1]), 3.0), autoencoder.asked  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "num_blocks", "block"),
    [
        ((64, 80), 1, (64, 80)),
        ((192, 200), 2, (192, 192)),
        ((720, 1280), 16, (192, 192)),
        ((5, 9), 1, (16, 16)),
        ((40, 1000), 4, (32, 192)),
    ],
)
@pytest.mark.parametrize("num_frames", [1, 5, 17])
def test_blocks_are_as_in_training(size, num_blocks, block, num_frames):
    canvas = torch.randn(3, num_frames, *(max(side, 64) for side in size), generator=toy.seeded())
    _, asked = estimate(canvas, size)
    assert asked == [(1, 3, min(num_frames, 5), *block)] * num_blocks * (3 if num_frames == 17 else 1)


@pytest.mark.parametrize(
    ("shot", "runs"),
    [
        (range(7, 8), [range(7, 8)]),
        (range(9), [range(5)]),
        (range(10), [range(5), range(5, 10)]),
        (range(17), [range(5), range(6, 11), range(12, 17)]),
        (range(100, 9000), [range(100, 105), range(217, 222), range(335, 340)]),
    ],
)
def test_looks_are_spread_over_the_beginning_of_a_shot(shot: range, runs: list[range]) -> None:
    assert looks(shot) == runs


def test_blocks_reach_every_corner_and_no_padding():
    canvas = 0.01 * torch.randn(3, 1, 704, 1024, generator=toy.seeded())
    canvas[..., 690:, :] = canvas[..., 1000:] = math.inf  # padding
    assert estimate(canvas, (690, 1000))[0] == 0.5
    for row in (0, 689):
        for column in (0, 999):
            marked = canvas.clone()
            marked[..., row, column] += 1e4
            assert estimate(marked, (690, 1000))[0] > 0.5


def test_flat_blocks_have_no_vote():
    canvas = torch.full((3, 5, 384, 192), -1.0)
    canvas[..., 192:, :] = 0.2 + 0.1 * torch.randn(3, 5, 192, 192, generator=toy.seeded())
    assert estimate(canvas, (384, 192))[0] == pytest.approx(1 / (1 + math.exp(-2 * INDEPENDENT_VOTES)), abs=0.01)
    assert estimate(torch.full((3, 5, 192, 192), -1.0), (192, 192)) == (0.0, [])


def test_cosine_patterns_keep_energy_and_tell_frequencies_apart():
    noise = torch.randn(1, 1, 16, 16, generator=toy.seeded())
    coefficients = _cosine_transform(noise)
    assert coefficients.shape == (1, 1, 256, 1, 1)
    torch.testing.assert_close(coefficients.square().sum(), noise.square().sum())
    wave = torch.cos(math.pi / 16 * (torch.arange(16) + 0.5) * 5).expand(1, 1, 16, 16)
    assert (
        int(_cosine_transform(wave).abs().flatten().argmax()) == 5
    )  # no change from row to row, five from left to right
