"""Test the latents of the bundled model on patterns whose strength in every band is known."""

import math

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.models.mini.detail import BandEnergies

SIDE = 64


def wave(periods_y: float, periods_x: float, strength: float = 0.1, phase: float = 0.0) -> Tensor:
    """Return a grey frame (1, 3, 64, 64) with so many periods in every 8 pixels."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    pattern = torch.cos(2 * math.pi * (periods_y * y + periods_x * x) / 8 + phase)
    return (strength * pattern).expand(1, 3, -1, -1)


@pytest.mark.parametrize(
    ("periods", "band"),
    [((0.5, 0), 0), ((0, 0.5), 1), ((0.5, 0.5), 2), ((1.5, 0), 3), ((0, 1.5), 4), ((1.5, 1.5), 5),
     ((3.5, 0), 6), ((0, 3.5), 7), ((3.5, 3), 8)],
)  # fmt: skip
def test_bands_tell_period_and_direction(periods: tuple[float, float], band: int) -> None:
    energies = BandEnergies.of_frames(wave(*periods)).mean(dim=(0, 2, 3))
    assert energies.argmax() == band


def test_where_detail_lies_in_a_cell_is_left_out() -> None:
    there, moved = (BandEnergies.of_frames(wave(0, 2.5, phase=phase)).mean(dim=(0, 2, 3)) for phase in (0.0, 2.0))
    torch.testing.assert_close(there[4], moved[4], rtol=0.05, atol=0)


def test_all_energy_but_that_of_means_is_in_the_bands() -> None:
    frames = 0.2 * toy.randn(2, 1, SIDE, SIDE).expand(-1, 3, -1, -1)
    in_bands = BandEnergies.of_frames(frames)
    members = torch.tensor([1, 1, 1, 4, 4, 4, 14, 14, 20])  # cosines of each band, 63 in all
    cells = frames[:, 0].unfold(1, 8, 8).unfold(2, 8, 8)
    deviations = (cells - cells.mean(dim=(-1, -2), keepdim=True)).square().sum(dim=(-1, -2))
    torch.testing.assert_close(torch.einsum("nbhw,b->nhw", in_bands, members.float()), deviations)


def test_latents_grow_with_detail_and_rest_where_there_is_none() -> None:
    none, weak, strong = (
        BandEnergies.latents(BandEnergies.of_frames(wave(0, 2.5, strength)).unsqueeze(2))[:, 4].mean()
        for strength in (0.0, 0.01, 0.1)
    )
    assert none == pytest.approx((math.log(BandEnergies.floor) - BandEnergies.means[4]) / BandEnergies.deviations[4])
    assert none + 0.5 < weak < strong - 0.5
