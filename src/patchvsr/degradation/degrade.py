"""Degrade a clean clip to realistic input: plain downscaling, one pass, or the two passes of RealBasicVSR.

Parameters are drawn once per clip and drift slowly from frame to frame. No step shifts the picture: resizes keep the
outer edges (align_corners=False), kernels are centred, and chroma is read at the location where it was written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from patchvsr.degradation.blur import blur, random_kernels, random_sinc_kernels
from patchvsr.degradation.codec_pass import codec_pass, jpeg_pass, parse_codecs
from patchvsr.degradation.draws import Draw
from patchvsr.errors import SettingsError
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

PUBLISHED_SCALE = 4.0


@dataclass(frozen=True)
class Degradation:
    """Probabilities and ranges of the random parameters. Raises SettingsError for values out of range.

    clean_share: fraction of clips that are only downscaled: `bilinear_share` of them bilinearly (the paper), the others
        bicubically (the usual test sets); both antialiased.
    strength: scales every range; 0 only downscales, 1 uses the ranges of RealBasicVSR.
    full_share: fraction of degraded training clips at full `strength`; the others get a random part of it.
    blur_sigma: maximum of the first pass, in pixels of the clean clip at x4; half as much in the second.
    noise_sigma: maximum of the first pass, in 8-bit levels; 5/6 of it in the second. Shot noise scales with it.
    jpeg_quality: minimum; the maximum is 95.
    bits_per_pixel: minimum video bit rate per pixel of a frame; the maximum is ten times that. 0.25 to 2.5 are
        the published 1e4 to 1e5 bits per frame at 200x200 pixels, the typical frame size of the published chain.
    codecs: comma-separated, drawn with equal probability: h264, mpeg4, hevc. Repeat one to weight it.
    passes: 2 is the chain of RealBasicVSR; 1 is a camera or a stream: blur, downscaling, noise and one video codec.
    drift: maximum change from one frame to the next, as a fraction of the range.
    four_share, max_scale: see `draw_scale`.
    """

    clean_share: float = 0.35
    bilinear_share: float = 0.0
    strength: float = 1.0
    full_share: float = 0.6
    blur_sigma: float = 3.0
    noise_sigma: float = 30.0
    jpeg_quality: int = 30
    bits_per_pixel: float = 0.25
    codecs: str = "h264,h264,mpeg4"
    passes: int = 2
    drift: float = 0.01
    four_share: float = 0.8
    max_scale: float = 8.0

    def __post_init__(self) -> None:
        for name in ("clean_share", "bilinear_share", "full_share", "four_share", "drift"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} is {getattr(self, name)}: give 0 to 1")
        if self.strength < 0 or self.bits_per_pixel <= 0 or self.max_scale < 1 or not 1 <= self.jpeg_quality <= 95:
            raise SettingsError(
                f"strength {self.strength}, bits_per_pixel {self.bits_per_pixel}, max_scale {self.max_scale}, "
                f"jpeg_quality {self.jpeg_quality}: give at least 0, more than 0, at least 1, and 1 to 95"
            )
        if self.blur_sigma < _LOWEST_SIGMA * 2 or self.noise_sigma < _LOWEST_NOISE * 2:
            raise SettingsError(
                f"blur_sigma {self.blur_sigma}, noise_sigma {self.noise_sigma}: "
                f"give at least {_LOWEST_SIGMA * 2} and {_LOWEST_NOISE * 2}; for less, lower the strength"
            )
        if self.passes not in (1, 2):
            raise SettingsError(f"passes is {self.passes}: give 1 or 2")
        parse_codecs(self.codecs)

    def at(self, strength: float) -> Degradation:
        """Return these settings for a clip of exactly this strength; 0 gives a clean clip."""
        return replace(self, clean_share=0.0, strength=strength)

    @property
    def is_bicubic(self) -> bool:
        """Whether every clip is only downscaled bicubically."""
        return (self.clean_share == 1 or self.strength == 0) and self.bilinear_share == 0


_LOWEST_SIGMA, _LOWEST_NOISE = 0.2, 1.0
_MOST_BITS_PER_PIXEL = 24.0  # uncompressed 8-bit RGB; encoders refuse the rates that a strength near 0 would give

BICUBIC = Degradation(clean_share=1.0, bilinear_share=0.0)
REALBASICVSR = Degradation(clean_share=0.0, bilinear_share=0.0)
LIGHT = replace(REALBASICVSR, passes=1, blur_sigma=1.5, noise_sigma=4.0, bits_per_pixel=0.5, codecs="h264")
MEDIUM = replace(REALBASICVSR, strength=0.5)
PRESETS = {"bicubic": BICUBIC, "light": LIGHT, "medium": MEDIUM, "realbasicvsr": REALBASICVSR}


@dataclass(frozen=True)
class _Pass:
    """The parameters that differ between the two passes: probabilities, and ranges relative to the first pass."""

    blur_chance: float
    blur_share: float
    resize_chances: dict[str, float]
    resize_factors: tuple[float, float]
    noise_share: float


_FIRST = _Pass(1.0, 1.0, {"up": 0.2, "down": 0.7, "keep": 0.1}, (0.15, 1.5), 1.0)
_SECOND = _Pass(0.8, 0.5, {"up": 0.3, "down": 0.4, "keep": 0.3}, (0.3, 1.2), 25 / 30)


def draw_scale(generator: Generator, settings: Degradation) -> float:
    """Draw a scale: exactly 4 for `four_share` of the draws, else log-uniform from 1 to `max_scale`."""
    four, exponent = torch.rand(2, generator=generator).tolist()
    return 4.0 if four < settings.four_share else float(settings.max_scale**exponent)


def draw_strength(generator: Generator, settings: Degradation) -> float:
    """Draw the strength of a training clip: 0 for clean clips, else full `strength` or a random part of it."""
    clean, full, part = torch.rand(3, generator=generator).tolist()
    if clean < settings.clean_share:
        return 0.0
    return settings.strength * (1.0 if full < settings.full_share else part)


@torch.no_grad()
def degrade(clip: Tensor, scale: float, generator: Generator, settings: Degradation) -> Tensor:
    """Return the degraded clip of (F, 3, H, W) in [0, 1]: (F, 3, round(H/scale), round(W/scale)) on 8-bit levels.

    The chain was published for x4 (Chan et al., "Investigating Tradeoffs in Real-World Video Super-Resolution", CVPR
    2022, and its configuration). For other scales:

    - Above 4, the clip is first downscaled to four times the target size.
    - Below 4, pixel degradations (blur, noise, compression) are scaled by scale / 4, because the following downscaling
      averages away less of them. Resize factors and cutoffs are raised to the power log4(scale), so that nothing is
      resized at scale 1, and by half as many octaves at 2 as at 4.

    Other differences: no step works below half the target size (the published chain can go to a fifth of it, where only
    noise is left), all resizes are antialiased, Poisson noise is drawn from its Gaussian limit (256 photons for white),
    and the frame size is constant throughout the clip.

    Raises:
        SettingsError: scale is below 1.
    """
    if scale < 1:
        raise SettingsError(f"scale is {scale}: give 1 or more")
    height, width = clip.shape[-2:]
    size = Size(max(1, round(width / scale)), max(1, round(height / scale)))
    clean, bilinear = torch.rand(2, generator=generator).tolist()
    if clean < settings.clean_share or settings.strength == 0:
        return on_8_bits(_resize(clip, size, "bilinear" if bilinear < settings.bilinear_share else "bicubic"))
    if scale > PUBLISHED_SCALE:
        clip = resize_bicubic(clip, Size(4 * size.width, 4 * size.height))
    return _Chain(Draw(generator, len(clip), settings.drift), min(scale, PUBLISHED_SCALE), settings).run(clip, size)


class _Chain:
    """The passes for one clip; `strength` scales pixel degradations, `power` is the exponent of resize factors."""

    def __init__(self, draw: Draw, scale: float, settings: Degradation) -> None:
        self.draw, self.settings = draw, settings
        self.strength = settings.strength * scale / PUBLISHED_SCALE
        self.power = settings.strength * math.log(scale, PUBLISHED_SCALE)

    def run(self, clip: Tensor, size: Size) -> Tensor:
        return self._one_pass(clip, size) if self.settings.passes == 1 else self._two_passes(clip, size)

    def _one_pass(self, clip: Tensor, size: Size) -> Tensor:
        clip = self._noise(self._any_resize(self._blur(clip, _FIRST), size), _FIRST)
        return _to_clip(self._video(_to_frames(clip)))

    def _two_passes(self, clip: Tensor, size: Size) -> Tensor:
        # 1. First pass.
        clip = self._noise(self._resize(self._blur(clip, _FIRST), size, _FIRST), _FIRST)
        clip = _to_clip(self._video(self._jpeg(_to_frames(clip))))

        # 2. Second pass. Its video codec runs before or after the reduction to the final size.
        clip = self._noise(self._resize(self._blur(clip, _SECOND), size, _SECOND), _SECOND)
        frames = self._jpeg(_to_frames(clip))
        if self.draw.chance(0.5):
            return on_8_bits(self._finish(_to_clip(self._video(frames)), size))
        return _to_clip(self._video(_to_frames(self._finish(_to_clip(frames), size))))

    def _blur(self, clip: Tensor, which: _Pass) -> Tensor:
        if not self.draw.chance(which.blur_chance):
            return clip
        highest = which.blur_share * self.settings.blur_sigma
        sigma = (self.strength * _LOWEST_SIGMA, self.strength * highest)
        size = self.strength / self.settings.strength  # kernel size follows the scale, not the strength setting
        return blur(clip, random_kernels(self.draw, sigma, size=size, power=self.power))

    def _resize(self, clip: Tensor, wanted: Size, which: _Pass) -> Tensor:
        low, high = which.resize_factors
        mode = self.draw.choice(which.resize_chances)
        published = {"up": self.draw.uniform(1, high), "down": self.draw.uniform(low, 1), "keep": 1.0}[mode]
        factor = max(published**self.power, wanted.height / clip.shape[-2] / 2)
        height, width = (max(1, round(side * factor)) for side in clip.shape[-2:])
        return self._any_resize(clip, Size(width, height))

    def _any_resize(self, clip: Tensor, size: Size) -> Tensor:
        return _resize(clip, size, self.draw.choice({"bilinear": 1.0, "area": 1.0, "bicubic": 1.0}))

    def _noise(self, clip: Tensor, which: _Pass) -> Tensor:
        """Add Gaussian noise, or shot noise proportional to the square root of brightness; in colour or in grey."""
        draw, highest = self.draw, which.noise_share * self.settings.noise_sigma
        channels = 1 if draw.chance(0.4) else 3
        if draw.chance(0.5):
            amount = draw.walk(_LOWEST_NOISE, highest).view(-1, 1, 1, 1) / 255
        else:
            light = clip.mean(dim=1, keepdim=True) if channels == 1 else clip
            amount = draw.walk(0.05, highest / 10).view(-1, 1, 1, 1) * (light.clamp(min=0) / 256).sqrt()
        noise = draw.normal(len(clip), channels, *clip.shape[-2:])
        return noise.mul_(self.strength * amount) + clip

    def _jpeg(self, frames: np.ndarray) -> np.ndarray:
        loss = self.strength * (100 - self.draw.walk(self.settings.jpeg_quality, 95))
        return jpeg_pass(frames, (100 - loss).round().int().clamp(min=1).tolist())

    def _video(self, frames: np.ndarray) -> np.ndarray:
        codecs = parse_codecs(self.settings.codecs)
        codec = codecs[int(self.draw.uniform(0, len(codecs)))]
        bits_per_pixel = self.settings.bits_per_pixel * 10 ** self.draw.uniform() / self.strength
        return codec_pass(frames, codec, min(bits_per_pixel, _MOST_BITS_PER_PIXEL))

    def _finish(self, clip: Tensor, size: Size) -> Tensor:
        clip = self._any_resize(clip, size)
        if not self.draw.chance(0.8):
            return clip
        return blur(clip, random_sinc_kernels(self.draw, power=self.settings.strength))


def _resize(clip: Tensor, size: Size, mode: str) -> Tensor:
    if Size.of(clip) == size:
        return clip
    sides = (size.height, size.width)
    if mode == "area" and size.height < clip.shape[-2]:
        return F.interpolate(clip, size=sides, mode="area")
    return F.interpolate(clip, size=sides, mode="bicubic" if mode == "bicubic" else "bilinear", antialias=True)


def on_8_bits(clip: Tensor) -> Tensor:
    """Return a clip in [0, 1] rounded to 8-bit levels."""
    return clip.clamp(0, 1).mul_(255).round_().div_(255)


def _to_frames(clip: Tensor) -> np.ndarray:  # (F, 3, H, W) in [0, 1] -> (F, H, W, 3) uint8
    return clip.clamp(0, 1).mul_(255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _to_clip(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().float().div_(255)
