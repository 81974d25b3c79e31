"""Measure the naturalness of a frame without an original: NIQE.

Source: Mittal, Soundararajan, Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing
Letters 2013. A frame is compared with photos as they should be, in statistics of its patches. The photos are our own
(`benchmarks/fit_niqe.py`), so the scale is not that of the authors' program in MATLAB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from patchvsr.measures.luma import luma
from patchvsr.measures.meter import FrameMeter, FrameTriple, Score

NIQE = Score(
    "niqe",
    "NIQE",
    better="lower",
    digits=2,
    help="distance to the statistics of our own photos, without the original; not on the scale of MATLAB's NIQE, "
    "whose photos are others",
)

PATCH_PX = 96
PRISTINE = Path(__file__).with_name("niqe.safetensors")

# Of the photos that the model is fitted to, patches count whose deviation is at least this part of the sharpest one's.
SHARP_PART = 0.75

# Gaussian window of the local mean and deviation, in pixels.
_WINDOW_PX, _SIGMA_PX = 7, 7 / 6

# Neighbours whose products are looked at: right, below, and on both diagonals.
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


class PatchModel(NamedTuple):
    """Mean (36,) and covariance (36, 36) of the features of patches, in float64."""

    mean: Tensor
    covariance: Tensor


class NiqeMeter(FrameMeter):
    """Score how far the statistics of a frame are from those of good photos. It needs no original.

    Frames with less than two patches of 96x96 pixels have no score.
    """

    scores: ClassVar[tuple[Score, ...]] = (NIQE,)
    needs: ClassVar[frozenset[Literal["original", "canvas"]]] = frozenset()

    def __init__(self, pristine: PatchModel | None = None) -> None:
        """Start an empty measurement; `pristine` is the model of good photos, by default the one of this package."""
        super().__init__()
        self._pristine = pristine or load_model(PRISTINE)

    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        features = patch_features(frame.output)[0]
        features = features[features.isfinite().all(dim=1)]
        return {"niqe": distance(self._pristine, fit([features]))} if len(features) > 1 else {}


def load_model(path: Path) -> PatchModel:
    """Read a model that `benchmarks/fit_niqe.py` has written."""
    return PatchModel(**load_file(path))


def fit(features: Iterable[Tensor]) -> PatchModel:
    """Return mean and covariance of features of patches, (P, 36) each, at least two patches in all."""
    rows = torch.cat(list(features)).double()
    return PatchModel(rows.mean(dim=0), rows.T.cov())


def distance(one: PatchModel, other: PatchModel) -> float:
    """Return the distance of two models: eq. 10 of the paper."""
    difference = one.mean - other.mean
    pooled = (one.covariance + other.covariance) / 2
    return float(difference @ torch.linalg.pinv(pooled, hermitian=True) @ difference) ** 0.5


def patch_features(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features and the mean local deviation of all whole patches of a frame.

    The patches are counted from the top left corner; what is left at the right and at the bottom is not looked at.

    Args:
        frame: (3, H, W) in [0, 1].

    Returns:
        (P, 36): 18 features at full size, then 18 at half size; NaN where a patch is flat.
        (P,): deviations in 8-bit levels, at full size.
    """
    height, width = (side - side % PATCH_PX for side in frame.shape[1:])
    if not height or not width:
        return torch.empty(0, 36), torch.empty(0)
    grey = luma(frame[None, :, :height, :width], "bt601")
    half = F.interpolate(grey, scale_factor=0.5, mode="bicubic", antialias=True)
    contrast, deviation = normalised_contrast(grey)
    patches = [_patches(contrast, PATCH_PX), _patches(normalised_contrast(half)[0], PATCH_PX // 2)]
    return torch.cat([_natural_features(p) for p in patches], dim=1), _patches(deviation, PATCH_PX).mean(dim=(1, 2))


def normalised_contrast(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return MSCN coefficients and local deviations of luma (1, 1, H, W) in 8-bit levels: eq. 1 to 3 of the paper."""
    mean = _blur(grey)
    deviation = (_blur(grey.square()) - mean.square()).clamp_min(0).sqrt()
    # Rounded, so that flat areas are zero, and not the rounding errors of the mean.
    return (grey - mean).round(decimals=3) / (deviation + 1), deviation


def asymmetric_gaussian(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit an asymmetric generalised Gaussian to each row of samples (P, N) by its moments.

    Source: Lasmar, Stitou, Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009.

    Returns:
        Its shape, and the scales of its left and of its right side, (P,) each: eq. 7 of the paper of NIQE.
    """
    squares = samples.square()
    left, right = (_mean_where(squares, side).sqrt() for side in (samples < 0, samples > 0))
    lean = left / right
    ratio = samples.abs().mean(dim=1).square() / squares.mean(dim=1)
    shapes, ratios = _moment_ratios()
    ratio = ratio * (lean**3 + 1) * (lean + 1) / (lean**2 + 1) ** 2
    shape = shapes[torch.searchsorted(ratios, ratio.contiguous()).clamp_max(len(shapes) - 1)]
    scale = ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()
    return shape, left * scale, right * scale


def _natural_features(patches: Tensor) -> Tensor:
    """Return the 18 features of patches of MSCN coefficients (P, h, w), (P, 18)."""
    shape, left, right = asymmetric_gaussian(patches.flatten(1))
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = asymmetric_gaussian((patches * patches.roll(shift, dims=(1, 2))).flatten(1))
        mean = (right - left) * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()  # eq. 8
        features += [shape, mean, left, right]
    return torch.stack(features, dim=1)


@cache
def _moment_ratios() -> tuple[Tensor, Tensor]:
    """Return shapes from 0.2 to 10, and the ratio E|x|² / E x² of a generalised Gaussian of each, which grows."""
    shapes = torch.arange(0.2, 10.0005, 0.001, dtype=torch.float64)
    ratios = (2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)).exp()
    return shapes.float(), ratios.float()


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1)


def _blur(grey: Tensor) -> Tensor:
    places = torch.arange(_WINDOW_PX) - _WINDOW_PX // 2
    weights = torch.exp(-0.5 * (places / _SIGMA_PX) ** 2)
    kernel = weights / weights.sum()
    grey = F.pad(grey, (_WINDOW_PX // 2,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(grey, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _patches(grey: Tensor, side: int) -> Tensor:
    """Cut (1, 1, H, W) into patches (P, side, side)."""
    return grey[0, 0].unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)
