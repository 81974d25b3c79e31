"""Quality measures against values known from their definitions."""

import math

import pytest
import torch
from torch import Tensor

from patchvsr.errors import InputError, PatchVSRError
from patchvsr.extras import require
from patchvsr.measures.fidelity import PSNR_LIMIT_DB, MsSsimMeter, PsnrMeter, SsimMeter, VifMeter
from patchvsr.measures.luma import luma
from patchvsr.measures.meter import measure_clip
from patchvsr.measures.vmaf import VmafMeter


@pytest.fixture
def clip() -> Tensor:
    """Moving detail, (5, 3, 72, 96), smooth enough that noise on it is visible."""
    torch.manual_seed(0)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 20, 40), size=(72, 160), mode="bicubic")[0]
    return torch.stack([wide[:, :, 4 * i : 4 * i + 96] for i in range(5)]).clamp(0.1, 0.9)


def measure(pred: Tensor, target: Tensor, *, vmaf: bool = False) -> dict[str, float]:
    return measure_clip([PsnrMeter(), SsimMeter(), VifMeter(), *([VmafMeter()] if vmaf else [])], pred, target)


def test_luma_of_primaries():
    rgb = torch.eye(3).view(3, 3, 1, 1)  # a red, a green and a blue frame
    bt601, bt709 = luma(rgb, "bt601").flatten(), luma(rgb, "bt709").flatten()
    # The coefficients of MATLAB's rgb2ycbcr, and those of BT.709 scaled to 219 levels.
    torch.testing.assert_close(bt601, 16 + torch.tensor([65.481, 128.553, 24.966]))
    torch.testing.assert_close(bt709, 16 + 219 * torch.tensor([0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize(
    ("channels", "luma_levels"),
    [(slice(0, 3), 219 / 255), (slice(0, 1), 65.481 / 255), (slice(2, 3), 24.966 / 255)],
)
def test_psnr_of_constant_offset(channels: slice, luma_levels: float):
    target = torch.full((2, 3, 24, 24), 100 / 255)
    pred = target.clone()
    pred[:, channels] += 10 / 255
    expected = 20 * math.log10(255 / (10 * luma_levels))
    assert measure(pred, target)["psnr_y"] == pytest.approx(expected, abs=1e-3)


def test_psnr_is_taken_after_rounding_to_8_bits():
    target = torch.full((1, 3, 24, 24), 100 / 255)
    assert measure(target + 0.4 / 255, target)["psnr_y"] == PSNR_LIMIT_DB
    assert measure(target + 0.6 / 255, target)["psnr_y"] < 60


def test_psnr_is_the_mean_over_frames():
    target = torch.full((2, 3, 24, 24), 100 / 255)
    pred = target.clone()
    pred[0] += 10 / 255
    alone = measure(pred[:1], target[:1])["psnr_y"]
    assert measure(pred, target)["psnr_y"] == pytest.approx((alone + PSNR_LIMIT_DB) / 2)


def test_identical_frames(clip: Tensor):
    scores = measure(clip, clip, vmaf=True)
    assert scores["psnr_y"] == scores["psnr_rgb"] == PSNR_LIMIT_DB
    assert [scores[name] for name in ("ssim_y", "ssim_rgb", "vif_y")] == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)
    assert scores["vmaf"] > 97 and scores["vmaf_neg"] > 97


def test_noise_lowers_every_score(clip: Tensor):
    noisy = (clip + 0.1 * torch.randn_like(clip)).clamp(0, 1)
    scores, perfect = measure(noisy, clip, vmaf=True), measure(clip, clip, vmaf=True)
    assert all(
        scores[name] < 0.95 * perfect[name]
        for name in ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb", "vif_y", "vmaf", "vmaf_neg")
    )


def test_vmaf_neg_gives_no_credit_for_contrast(clip: Tensor):
    soft = torch.nn.functional.avg_pool2d(clip, 3, stride=1, padding=1, count_include_pad=False)
    sharpened = (soft + 2.0 * (soft - soft.mean(dim=(2, 3), keepdim=True))).clamp(0, 1)
    scores = measure(sharpened, clip, vmaf=True)
    assert scores["vmaf_neg"] < scores["vmaf"] - 1


def test_vmaf_of_pieces_equals_vmaf_torch_on_the_whole(clip: Tensor):
    vmaf_torch = pytest.importorskip("vmaf_torch")
    noisy = (clip + 0.03 * torch.randn_like(clip)).clamp(0, 1)
    streamed = measure_clip([VmafMeter()], noisy, clip)
    whole = vmaf_torch.VMAF(clip_score=True)(luma(clip, "bt709").round(), luma(noisy, "bt709").round())
    assert whole.std() > 0.1  # the motion feature does differ between the frames
    assert streamed["vmaf"] == pytest.approx(float(whole.mean()), abs=1e-3)


def test_refuses_what_cannot_be_compared(clip: Tensor):
    with pytest.raises(InputError, match="equal shapes"):
        measure(clip[..., :-1], clip)
    with pytest.raises(InputError, match="no frames"):
        measure(clip[:0], clip[:0])


def test_every_frame_has_its_own_score(clip: Tensor):
    noisy = clip.clone()
    noisy[3] += 0.3 * torch.randn_like(noisy[3])
    meters = [PsnrMeter(), VmafMeter()]
    result = measure_clip(meters, noisy, clip)
    for meter in meters:
        for name, values in meter.per_frame().items():
            assert len(values) == 5 and values.index(min(values)) == 3
            assert result[name] == pytest.approx(sum(values) / 5)


def test_ms_ssim_needs_room_for_five_scales(clip: Tensor):
    assert measure_clip([MsSsimMeter()], clip, clip) == {}
    large = torch.nn.functional.interpolate(clip, size=(180, 240), mode="bicubic")
    soft = torch.nn.functional.avg_pool2d(large, 5, stride=1, padding=2, count_include_pad=False)
    assert 0.5 < measure_clip([MsSsimMeter()], soft, large)["ms_ssim_y"] < 0.999


def test_agrees_with_scikit_image(clip: Tensor):
    """A second implementation, with its options for the literature's SSIM."""
    metrics = pytest.importorskip("skimage.metrics")
    noisy = (clip + 0.05 * torch.randn_like(clip)).clamp(0, 1)
    outputs, originals = (luma(frames, "bt601")[:, 0].numpy() for frames in (noisy, clip))
    pairs = list(zip(originals, outputs, strict=True))
    options = dict(data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    found = measure(noisy, clip)
    psnr = [metrics.peak_signal_noise_ratio(*pair, data_range=255) for pair in pairs]
    ssim = [metrics.structural_similarity(*pair, **options) for pair in pairs]
    assert found["psnr_y"] == pytest.approx(sum(psnr) / 5, abs=1e-3)
    assert found["ssim_y"] == pytest.approx(sum(ssim) / 5, abs=1e-3)


def test_missing_package_names_the_extra():
    with pytest.raises(PatchVSRError, match=r"no_such_package.*patchvsr\[eval\]"):
        require("no_such_package", extra="eval")
