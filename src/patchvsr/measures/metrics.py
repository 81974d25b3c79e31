"""Full-reference quality of a video, frame by frame, in memory that does not grow with its length."""

from typing import Literal

import torch
from torch import Tensor

from patchvsr.errors import InputError
from patchvsr.extras import require
from patchvsr.measures.vmaf import VmafMeter

# Weights of R, G, B in luma (ITU-R BT.601 and BT.709).
_LUMA_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}

# Identical frames have infinite PSNR; one black frame must not make the mean of a whole clip infinite.
PSNR_LIMIT_DB = 100.0


def luma(rgb: Tensor, matrix: Literal["bt601", "bt709"]) -> Tensor:
    """Limited-range luma, 16 (black) to 235 (white), of frames rounded to 8 bits.

    Args:
        rgb: (F, 3, H, W) in [0, 1].

    Returns:
        (F, 1, H, W) float32, not rounded.
    """
    levels = (rgb.clamp(0, 1) * 255).round().to(torch.float32)
    weights = torch.tensor(_LUMA_WEIGHTS[matrix], device=rgb.device).view(1, 3, 1, 1)
    return 16 + (levels * weights).sum(dim=1, keepdim=True) * (219 / 255)


class VideoMetrics:
    """PSNR-Y, SSIM-Y, VMAF and VMAF-NEG of a video, fed in pieces of any length.

    PSNR-Y and SSIM-Y follow the super-resolution literature: BT.601 limited-range luma of 8-bit RGB, not
    rounded, peak 255, the mean over frames of the value of each frame, nothing cut off at the borders (beyond
    the 5 pixels that the 11x11 SSIM window needs). PSNR of a frame is limited to 100 dB.
    VMAF reads what a player would: the BT.709 luma plane, rounded to 8 bits.
    """

    def __init__(self, *, vmaf: bool = True) -> None:
        """Start an empty measurement; `vmaf=False` leaves out the two slow ones (about 2 s a 720p frame).

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
        # One frame at a time: the metrics hold many float maps per frame they are given.
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
        """Means over all frames so far: `frames`, `psnr_y` (dB), `ssim_y`, and `vmaf`, `vmaf_neg` (0-100).

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
