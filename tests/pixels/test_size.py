"""Sizes: what is understood, and what an output's size becomes or is refused for."""

import pytest
import torch

from patchvsr.errors import SettingsError
from patchvsr.pixels.size import NAMED_SIZES, Size, check_scale_or_size, target_size


@pytest.mark.parametrize(
    ("asked", "source", "target"),
    [
        (dict(), (320, 180), (1280, 720)),
        (dict(scale=1.5), (321, 181), (482, 272)),
        (dict(size="3840x2160"), (640, 360), (3840, 2160)),
        (dict(size="4k"), (640, 360), (3840, 2160)),
        (dict(size="4K"), (720, 576), (2700, 2160)),
        (dict(size="1080p"), (360, 640), (1080, 1920)),
        (dict(size="720p"), (479, 270), (1278, 720)),
        (dict(size="720p"), (1280, 720), (1280, 720)),
        (dict(size="649x360"), (640, 360), (649, 360)),  # distorts by less than 2 percent
        (dict(scale=0.5, allow_smaller=True), (100, 60), (50, 30)),
        (dict(size="50x30", allow_smaller=True), (100, 60), (50, 30)),
        (dict(scale=0.001, allow_smaller=True), (100, 60), (1, 1)),
    ],
)
def test_output_size(asked, source, target):
    assert target_size(Size(*source), **(dict(scale=None, size=None) | asked)) == target


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(scale=0.5), "smaller than the input"),
        (dict(size="160x90"), "smaller than the input"),
        (dict(size="1000x1000"), "would distort the 320x180 input: 1000x562 fits it"),
        (dict(size="1000x1000", allow_smaller=True), "distort"),
        (dict(size="5k"), "not understood"),
    ],
)
def test_size_that_is_refused(asked, message):
    with pytest.raises(SettingsError, match=message):
        target_size(Size(320, 180), **(dict(scale=None, size=None) | asked))


@pytest.mark.parametrize("size", ["", "4096", "0x100", "-1x5", "10x", "axb", "5k", "123456x1"])
def test_size_that_is_not_understood(size):
    with pytest.raises(SettingsError, match="not understood"):
        Size.parse(size)


@pytest.mark.parametrize("name", NAMED_SIZES)
def test_a_name_fits_its_box_upright_too(name):
    box = Size.parse(name.upper())
    assert Size(320, 180).fitted(box) == box
    assert Size(180, 320).fitted(box) == (box.height, box.width)


def test_a_size_is_read_as_it_is_shown():
    assert str(Size.parse("3840x2160")) == "3840x2160"
    assert Size.of(torch.empty(3, 20, 30)) == Size(width=30, height=20)


@pytest.mark.parametrize("scale", [0, -2, float("nan"), float("inf")])
def test_a_scale_that_is_no_factor_is_refused(scale):
    with pytest.raises(SettingsError, match="greater than 0"):
        check_scale_or_size(scale, None)


@pytest.mark.parametrize("scale", [53, 1e9, 1e308])
def test_a_scale_to_a_picture_of_100_000_pixels_is_refused(scale):
    assert Size(1920, 1080).scaled(52) == (99_840, 56_160)
    with pytest.raises(SettingsError, match="more than 99999 pixels"):
        Size(1920, 1080).scaled(scale)


def test_scale_and_size_exclude_each_other():
    with pytest.raises(SettingsError, match="not both"):
        check_scale_or_size(2, (20, 20))
    check_scale_or_size(2, None)
    check_scale_or_size(None, (20, 20))
