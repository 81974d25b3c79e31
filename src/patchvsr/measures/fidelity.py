"""Likeness to the original, pixel by pixel and by local structure.

Y is BT.601 limited-range luma of 8-bit RGB, not rounded, with a peak of 255, as in the super-resolution literature; RGB
are the 8-bit levels themselves. No borders are cropped, but SSIM has no values within 5 px of them, as in its authors'
code: its window is never filled up.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from patchvsr.extras import require
from patchvsr.measures.luma import luma
from patchvsr.measures.meter import FrameMeter, FrameTriple, Score

# Identical frames, such as black ones, have infinite PSNR, which would make the mean of the clip infinite.
PSNR_LIMIT_DB = 100.0
# Shorter sides that five scales of 11x11 windows, or four scales of VIF's 17x17 window, still fit in.
MS_SSIM_MIN_PX, VIF_MIN_PX = 176, 41
SSIM_BORDER_PX = 5


class PsnrMeter(FrameMeter):
    """PSNR of Y and of RGB, capped at 100 dB in each frame."""

    scores = (
        Score("psnr_y", "PSNR-Y", "dB", "higher", 2, "PSNR of BT.601 luma, peak 255, mean of the frames' values"),
        Score("psnr_rgb", "PSNR-RGB", "dB", "higher", 2, "PSNR of 8-bit RGB, peak 255, mean of the frames' values"),
    )

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        return {"psnr_y": psnr_db(*luma_pair(frame)), "psnr_rgb": psnr_db(*levels_pair(frame))}


class SsimMeter(FrameMeter):
    """SSIM of Y and of RGB (mean of the channels), 11x11 Gaussian window with a sigma of 1.5 (Wang et al., 2004)."""

    scores = (
        Score("ssim_y", "SSIM-Y", "", "higher", 4, "SSIM of BT.601 luma, 11x11 Gaussian window"),
        Score("ssim_rgb", "SSIM-RGB", "", "higher", 4, "mean SSIM of R, G and B, 11x11 Gaussian window"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._ssim = require("torchmetrics.functional.image", extra="eval").structural_similarity_index_measure

    @torch.no_grad()
    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        if min(frame.output.shape[-2:]) <= 2 * SSIM_BORDER_PX:
            return {}
        return {"ssim_y": self._mean(*luma_pair(frame)), "ssim_rgb": self._mean(*levels_pair(frame))}

    def _mean(self, output: Tensor, original: Tensor) -> float:
        _, values = self._ssim(output, original, data_range=255.0, return_full_image=True)
        inside = slice(SSIM_BORDER_PX, -SSIM_BORDER_PX)
        return float(values[..., inside, inside].mean())


class MsSsimMeter(FrameMeter):
    """Multi-scale SSIM of Y (Wang et al., 2003), for frames with sides of 176 px and more."""

    scores = (Score("ms_ssim_y", "MS-SSIM-Y", "", "higher", 4, "SSIM of BT.601 luma at five scales"),)

    def __init__(self) -> None:
        super().__init__()
        image = require("torchmetrics.functional.image", extra="eval")
        self._ms_ssim = image.multiscale_structural_similarity_index_measure

    @torch.no_grad()
    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        if min(frame.output.shape[-2:]) < MS_SSIM_MIN_PX:
            return {}
        return {"ms_ssim_y": float(self._ms_ssim(*luma_pair(frame), data_range=255.0))}


class VifMeter(FrameMeter):
    """Visual information fidelity of Y in the pixel domain (Sheikh and Bovik, 2006), for sides of 41 px and more."""

    scores = (Score("vif_y", "VIF-Y", "", "one", 4, "information about the original left in the luma, pixel domain"),)

    def __init__(self) -> None:
        super().__init__()
        self._vif = require("torchmetrics.functional.image", extra="eval").visual_information_fidelity

    @torch.no_grad()
    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        if min(frame.output.shape[-2:]) < VIF_MIN_PX:
            return {}
        return {"vif_y": float(self._vif(*luma_pair(frame)))}


def psnr_db(output: Tensor, original: Tensor) -> float:
    """Return PSNR in dB of two tensors in levels, at most 100."""
    error = float((output - original).square().mean(dtype=torch.float64))
    limit = 255**2 / 10 ** (PSNR_LIMIT_DB / 10)
    return float(10 * torch.log10(torch.tensor(255**2 / max(error, limit), dtype=torch.float64)))


def luma_pair(frame: FrameTriple) -> tuple[Tensor, Tensor]:
    """Return BT.601 luma of output and original, (1, 1, H, W)."""
    assert frame.original is not None
    return luma(frame.output[None], "bt601"), luma(frame.original[None], "bt601")


def levels_pair(frame: FrameTriple) -> tuple[Tensor, Tensor]:
    """Return 8-bit levels of output and original, (1, 3, H, W) float32."""
    assert frame.original is not None
    output, original = ((255 * rgb.clamp(0, 1)).round()[None] for rgb in (frame.output, frame.original))
    return output, original
