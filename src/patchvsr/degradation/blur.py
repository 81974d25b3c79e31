"""Draw and apply the blur kernels of blind super-resolution (Real-ESRGAN, section 3), one per frame.

Every kernel is symmetric about its centre, so a blur does not shift the picture.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.degradation.draws import Draw

# (profile, isotropic): published probability.
_KINDS = {
    ("gaussian", True): 0.405,
    ("gaussian", False): 0.225,
    ("generalised", True): 0.108,
    ("generalised", False): 0.027,
    ("plateau", True): 0.108,
    ("plateau", False): 0.027,
    ("sinc", True): 0.1,
}
_RADII = (3, 10)  # kernel sizes 7 to 21


def random_kernels(draw: Draw, sigma: tuple[float, float], *, size: float, power: float) -> Tensor:
    """Return one kernel per frame, (F, k, k), all of one kind and size; each sums to 1.

    Args:
        draw: random parameters of the clip.
        sigma: range of the standard deviation in pixels.
        size: factor on the published kernel sizes of 7 to 21.
        power: exponent of cutoff frequencies, see `random_sinc_kernels`.
    """
    kind, isotropic = draw.choice(_KINDS)
    if kind == "sinc":
        return random_sinc_kernels(draw, size=size, power=power)
    radius = max(1, round(draw.uniform(*_RADII) * size))
    sigma_x, angle = draw.walk(*sigma), draw.walk(-math.pi, math.pi)
    sigma_y = sigma_x if isotropic else draw.walk(*sigma)
    if kind == "gaussian":
        beta = torch.ones(draw.num_frames)
    else:  # flatter or more peaked than a Gaussian, equally often
        highest = 4.0 if kind == "generalised" else 2.0
        beta = draw.walk(1.0, highest) if kind == "plateau" or draw.chance(0.5) else draw.walk(0.5, 1.0)
    return elliptic_kernels(radius, sigma_x, sigma_y, angle, beta, plateau=kind == "plateau")


def random_sinc_kernels(draw: Draw, *, size: float = 1.0, power: float = 1.0) -> Tensor:
    """Return low-pass filters (F, k, k) that ring, as over-sharpening and scalers do.

    Cutoffs are the published fractions of the highest frequency, raised to `power`; at 0 everything passes.
    """
    published = draw.uniform(*_RADII)
    lowest = 1 / 3 if published < 6 else 1 / 5
    return sinc_kernels(max(1, round(published * size)), math.pi * draw.walk(lowest, 1.0) ** power)


def elliptic_kernels(
    radius: int, sigma_x: Tensor, sigma_y: Tensor, angle: Tensor, beta: Tensor, *, plateau: bool
) -> Tensor:
    """Return kernels exp(-q^beta / 2), or 1 / (1 + q^beta) for a plateau, (F, k, k).

    q is the squared distance in sigmas. All parameters are (F,), sigmas in pixels.
    """
    x, y = _offsets(radius)
    sigma_x, sigma_y, angle, beta = (values.view(-1, 1, 1) for values in (sigma_x, sigma_y, angle, beta))
    along = (x * angle.cos() + y * angle.sin()) / sigma_x
    across = (y * angle.cos() - x * angle.sin()) / sigma_y
    distance = (along.square() + across.square()) ** beta
    return _normalised(1 / (1 + distance) if plateau else torch.exp(-0.5 * distance))


def sinc_kernels(radius: int, cutoff: Tensor) -> Tensor:
    """Return circular low-pass filters (F, k, k); `cutoff` (F,) in radians per pixel, at most pi."""
    distance, cutoff = torch.hypot(*_offsets(radius)), cutoff.view(-1, 1, 1)
    ring = cutoff * torch.special.bessel_j1(cutoff * distance) / (2 * math.pi * distance.clamp(min=1e-6))
    return _normalised(torch.where(distance == 0, cutoff.square() / (4 * math.pi), ring))


def blur(clip: Tensor, kernels: Tensor) -> Tensor:
    """Filter every frame of (F, 3, H, W) with its own kernel, (F, k, k), with replicated borders."""
    frames, channels = clip.shape[:2]
    radius = kernels.shape[-1] // 2
    planes = F.pad(clip.reshape(1, frames * channels, *clip.shape[2:]), (radius,) * 4, mode="replicate")
    weights = kernels.repeat_interleave(channels, dim=0).unsqueeze(1)
    # On CPU, depthwise convolution with large kernels is 25 times faster in this layout.
    planes = planes.contiguous(memory_format=torch.channels_last)
    return F.conv2d(planes, weights, groups=frames * channels)[0].unflatten(0, (frames, channels))


def _offsets(radius: int) -> tuple[Tensor, Tensor]:
    """Return horizontal and vertical distances from the centre, (k, k) each."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x, y


def _normalised(kernels: Tensor) -> Tensor:
    return kernels / kernels.sum(dim=(-2, -1), keepdim=True)
