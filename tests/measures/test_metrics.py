"""Quality measures against values known from their definitions."""

import math

import pytest
import torch
from torch import Tensor

from patchvsr.errors import InputError, PatchVSRError
from patchvsr.extras import require
from patchvsr.measures.metrics import PSNR_LIMIT_DB, VideoMetrics, luma


@pytest.fixture
def clip() -> Tensor:
    """Moving detail, (5, 3, 72, 96), smooth enough that noise on it is visible."""
    torch.manual_seed(0)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 20, 40), size=(72, 160), mode="bicubic")[0]
    return torch.stack([wide[:, :, 4 * i : 4 * i + 96] for i in range(5)]).clamp(0.1, 0.9)


def measure(pred: Tensor, target: Tensor, *, vmaf: bool = False) -> dict[str, float]:
    metrics = VideoMetrics(vmaf=vmaf)
    metrics.update(pred, target)
    return metrics.result()


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
    assert scores["frames"] == 5
    assert scores["psnr_y"] == PSNR_LIMIT_DB
    assert scores["ssim_y"] == pytest.approx(1.0, abs=1e-5)
    assert scores["vmaf"] > 97 and scores["vmaf_neg"] > 97


def test_noise_lowers_every_score(clip: Tensor):
    noisy = (clip + 0.1 * torch.randn_like(clip)).clamp(0, 1)
    scores, perfect = measure(noisy, clip, vmaf=True), measure(clip, clip, vmaf=True)
    assert all(scores[name] < 0.95 * perfect[name] for name in ("psnr_y", "ssim_y", "vmaf", "vmaf_neg"))


def test_vmaf_neg_gives_no_credit_for_contrast(clip: Tensor):
    soft = torch.nn.functional.avg_pool2d(clip, 3, stride=1, padding=1, count_include_pad=False)
    sharpened = (soft + 2.0 * (soft - soft.mean(dim=(2, 3), keepdim=True))).clamp(0, 1)
    scores = measure(sharpened, clip, vmaf=True)
    assert scores["vmaf_neg"] < scores["vmaf"] - 1


def test_vmaf_of_pieces_equals_vmaf_torch_on_the_whole(clip: Tensor):
    vmaf_torch = pytest.importorskip("vmaf_torch")
    noisy = (clip + 0.03 * torch.randn_like(clip)).clamp(0, 1)
    streamed = VideoMetrics()
    for piece in (slice(0, 2), slice(2, 3), slice(3, 5)):
        streamed.update(noisy[piece], clip[piece])
    whole = vmaf_torch.VMAF(clip_score=True)(luma(clip, "bt709").round(), luma(noisy, "bt709").round())
    assert whole.std() > 0.1  # the motion feature does differ between the frames
    assert streamed.result()["vmaf"] == pytest.approx(float(whole.mean()), abs=1e-3)


def test_refuses_what_cannot_be_compared(clip: Tensor):
    with pytest.raises(InputError, match="equal shapes"):
        VideoMetrics(vmaf=False).update(clip[..., :-1], clip)
    with pytest.raises(InputError, match="no frames"):
        VideoMetrics(vmaf=False).result()


def test_missing_package_names_the_extra():
    with pytest.raises(PatchVSRError, match=r"no_such_package.*patchvsr\[eval\]"):
        require("no_such_package", extra="eval")
