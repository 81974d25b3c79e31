"""Sizes and settings: what is understood, and what is refused before any work."""

import pytest

from patchvsr.errors import SettingsError
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings, UpscaleSettings


@pytest.mark.parametrize(
    ("config", "source", "target"),
    [
        (RestoreSettings(), (320, 180), (1280, 720)),
        (RestoreSettings(scale=1.5), (321, 181), (482, 272)),
        (RestoreSettings(size="3840x2160"), (640, 360), (3840, 2160)),
        (RestoreSettings(size="4k"), (640, 360), (3840, 2160)),
        (RestoreSettings(size="4K"), (720, 576), (2700, 2160)),
        (RestoreSettings(size="1080p"), (360, 640), (1080, 1920)),
        (RestoreSettings(size="720p"), (479, 270), (1278, 720)),
        (RestoreSettings(scale=0.5, allow_smaller=True), (100, 60), (50, 30)),
    ],
)
def test_output_size(config, source, target):
    assert config.output_size(Size(*source)) == target


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RestoreSettings(scale=0.5), "smaller than the input"),
        (RestoreSettings(size="160x90"), "smaller than the input"),
        (RestoreSettings(size="1000x1000"), "distort"),
    ],
)
def test_size_that_is_refused(config, message):
    with pytest.raises(SettingsError, match=message):
        config.output_size(Size(320, 180))


@pytest.mark.parametrize("size", ["", "4096", "0x100", "-1x5", "10x", "axb", "5k", "123456x1"])
def test_size_that_is_not_understood(size):
    with pytest.raises(SettingsError, match="not understood"):
        Size.parse(size)


@pytest.mark.parametrize(
    "settings",
    [
        dict(scale=0),
        dict(scale=-2),
        dict(scale=float("nan")),
        dict(scale=2, size="4k"),
        dict(num_inference_steps=-1),
        dict(joint_mode="average"),
        dict(dtype="int8"),
        dict(noise_timestep=1001),
        dict(chunk_frames=16),
        dict(overlap_frames=17),
        dict(batch_size=0),
    ],
)
def test_setting_out_of_range(settings):
    with pytest.raises(SettingsError):
        UpscaleSettings.of(**settings)
