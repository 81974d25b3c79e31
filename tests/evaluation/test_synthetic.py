"""Synthetic clips: inside the photo, moving smoothly."""

import pytest
import torch

from patchvsr.evaluation.synthetic import camera_move, flat_gradient, sampling_density
from patchvsr.pixels.size import Size


@pytest.mark.parametrize("photo_size", [(100, 300), (300, 160)])  # much room for the pan along x, along y
def test_camera_never_leaves_the_photo(photo_size: tuple[int, int]):
    photo = torch.full((3, *photo_size), 0.5)
    photo[:, 1:-1, 1:-1] = 1.0  # a dark ring, one pixel wide
    for frame in camera_move(photo, Size(96, 54), 9):
        assert frame[:, 2:-2, 2:-2].min() > 0.97


def test_camera_moves_smoothly():
    y, x = torch.meshgrid(torch.linspace(0, 1, 100), torch.linspace(0, 1, 160), indexing="ij")
    frames = torch.stack(list(camera_move(torch.stack([y, x, x]), Size(96, 54), 17)))
    place = frames[:, :2].mean(dim=(2, 3))  # (F, 2): on a ramp the mean is the place of the camera
    steps = place.diff(dim=0)
    assert (place[-1] - place[0]).abs().min() > 0.01
    assert steps.diff(dim=0).abs().max() < 0.4 * steps.abs().max()


@pytest.mark.parametrize(("size", "enough"), [((180, 320), True), ((720, 1280), False)])
def test_density_says_when_a_photo_is_magnified(size: tuple[int, int], enough: bool):
    assert (sampling_density(Size(600, 400), Size(*size[::-1])) >= 1) is enough


def test_gradient_drifts_and_has_the_slope_asked_for():
    frames = torch.stack(list(flat_gradient(Size(40, 40), 2, levels_per_px=0.5)))
    step = frames[0, 0].diff(dim=1).mean() * 255
    assert step == pytest.approx(0.5 / 2**0.5, rel=1e-3)
    assert not torch.equal(frames[0], frames[1])
