"""From a clean clip to what a user might have: one draw of parameters per clip, the same for all its frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from patchvsr.sampling.conditions import resize_bicubic


@dataclass(frozen=True)
class Degradation:
    """Chances and ranges of the draw.

    `clean_share` of the clips get an antialiased bicubic reduction and nothing else, as in the field's test sets;
    the rest also get, each by chance, blur (sigma in low-quality pixels) and Gaussian noise (sigma of 255).
    """

    scales: tuple[float, ...] = (4.0, 4.0, 4.0, 3.0, 2.0)
    clean_share: float = 0.75
    max_blur_sigma: float = 0.8
    max_noise_sigma: float = 6.0


def degrade(clip: Tensor, generator: Generator, settings: Degradation) -> tuple[Tensor, float]:
    """(F, 3, H, W) in [0, 1] -> the canvas, i.e. the low-quality clip resized back bicubically, and the scale."""
    height, width = clip.shape[-2:]
    scale = settings.scales[int(torch.randint(len(settings.scales), (), generator=generator))]
    draw = torch.rand(6, generator=generator).tolist()
    clean = draw[0] < settings.clean_share
    mode = "bicubic" if clean or draw[1] < 0.5 else "bilinear"
    size = (round(height / scale), round(width / scale))
    lq = F.interpolate(clip, size=size, mode=mode, antialias=True)
    if not clean and draw[2] < 0.5:
        lq = gaussian_blur(lq, 0.2 + draw[3] * (settings.max_blur_sigma - 0.2))
    if not clean and draw[4] < 0.6:
        lq = lq + torch.randn(lq.shape, generator=generator) * (draw[5] * settings.max_noise_sigma / 255)
    return resize_bicubic(lq.clamp(0, 1).mul(255).round().div(255), (height, width)), scale


def gaussian_blur(clip: Tensor, sigma: float) -> Tensor:
    radius = max(1, int(3 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1, dtype=clip.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(clip.shape[1], 1, -1)
    clip = F.pad(clip, (radius, radius, radius, radius), mode="reflect")
    clip = F.conv2d(clip, kernel.unsqueeze(2), groups=clip.shape[1])
    return F.conv2d(clip, kernel.unsqueeze(3), groups=clip.shape[1])
