"""Measure the full-reference quality of a video frame by frame, in constant memory."""

from typing import Literal

import torch
from torch import Tensor

from patchvsr.errors import InputError
from patchvsr.extras import require
from patchvsr.measures.vmaf import VmafMeter

# Weights of R, G, B in luma (ITU-R BT.601 and BT.709).
_LUMA_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}

# Identical frames, such as black ones, have infinite PSNR, which would make the mean of the clip infinite.
PSNR_LIMIT_DB = 100.0


def luma(rgb: Tensor, matrix: Literal["bt601", "bt709"]) -> Tensor:
    """Return limited-range luma, 16 (black) to 235 (white), of frames rounded to 8 bits.

    Args:
        rgb: (F, 3, H, W) in [0, 1].

    Returns:
        (F, 1, H, W) float32, not rounded.
    """
    levels = (rgb.clamp(0, 1) * 255).round().to(torch.float32)
    weights = torch.tensor(_LUMA_WEIGHTS[matrix], device=rgb.device).view(1, 3, 1, 1)
    return 16 + (levels * weights).sum(dim=1, keepdim=True) * (219 / 255)


class VideoMetrics:
    """Accumulate PSNR-Y, SSIM-Y, VMAF and VMAF-NEG of a video, in pieces of any length.

    PSNR-Y and SSIM-Y follow the super-resolution literature: BT.601 limited-range luma of 8-bit RGB, not rounded, peak
    255, averaged over frames, without cropping borders (beyond the 5 pixels that the 11x11 SSIM window needs). The PSNR
    of a frame is capped at 100 dB. VMAF reads the BT.709 luma plane, rounded to 8 bits, as a player would.
    """

    def __init__(self, *, vmaf: bool = True) -> None:
        """Start an empty measurement; `vmaf=False` skips both VMAF models (about 2 s per 720p frame).

        Raises:
            PatchVSRError: torchmetrics or vmaf-torch is not installed.
        """
        image = require("torchmetrics.functional.image", extra="eval")
        self._psnr = image.peak_signal_noise_ratio
        self._ssim = image.structural_similarity_index_measure
        self._vmaf = VmafMeter() if vmaf else None
        self._frames = 0
        self._psnr_sum = 0.0
        self._ssim_sum = 0.0

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add frames: restored `pred` and original `target`, both (F, 3, H, W) in [0, 1].

        Raises:
            InputError: the shapes differ or are not (F, 3, H, W).
        """
        if pred.shape != target.shape or pred.ndim != 4 or pred.shape[1] != 3:
            raise InputError(
                f"got frames {tuple(pred.shape)} to compare with {tuple(target.shape)}; "
                "need two equal shapes (frames, 3, height, width)"
            )
        # One frame at a time, because the metrics hold many float maps per frame.
        for restored, original in zip(pred.split(1), target.split(1), strict=True):
            self._add_frame(restored, original)

    @torch.no_grad()
    def _add_frame(self, pred: Tensor, target: Tensor) -> None:
        pred_y, target_y = luma(pred, "bt601"), luma(target, "bt601")
        self._psnr_sum += min(float(self._psnr(pred_y, target_y, data_range=255.0)), PSNR_LIMIT_DB)
        self._ssim_sum += float(self._ssim(pred_y, target_y, data_range=255.0))
        self._frames += 1
        if self._vmaf is not None:
            self._vmaf.update(luma(pred, "bt709").round(), luma(target, "bt709").round())

    def result(self) -> dict[str, float]:
        """Return means over all frames so far: `frames`, `psnr_y` (dB), `ssim_y`, and `vmaf`, `vmaf_neg` (0-100).

        Raises:
            InputError: no frame was added.
        """
        if self._frames == 0:
            raise InputError("no frames were compared")
        scores = {
            "frames": self._frames,
            "psnr_y": self._psnr_sum / self._frames,
            "ssim_y": self._ssim_sum / self._frames,
        }
        return scores | (self._vmaf.result() if self._vmaf is not None else {})
