"""Clips for studies: originals with their low-quality versions, as tensors, from a folder or made without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.degradation.lq_file import bicubic_reduce, cut
from patchvsr.errors import InputError, SettingsError
from patchvsr.evaluation.synthetic import flat_gradient, load_photo
from patchvsr.media.suffixes import VIDEO_SUFFIXES
from patchvsr.media.tensors import read_rgb
from patchvsr.pixels.size import Size

MADE_SIZE = Size(1280, 704)


class StudyClip(NamedTuple):
    """lq: (F, 3, h, w), original: (F, 3, H, W), both in [0, 1]; the sides of the original are those of `lq` x scale."""

    name: str
    lq: Tensor
    original: Tensor

    @property
    def size(self) -> Size:
        """Return the size of the original."""
        return Size.of(self.original)


def read_clips(folder: Path, *, frames: int, scale: int, size: Size | None = None) -> Iterator[StudyClip]:
    """Yield the first frames of every video in a folder, reduced bicubically; of their centre if `size` is given.

    Raises InputError if the folder holds no videos, or one is smaller than `size`.
    """
    videos = sorted(path for path in folder.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"{folder} holds no videos: give a folder of originals")
    for path in videos:
        original = torch.stack([*read_rgb(path, max_frames=frames)])
        yield _clip(path.stem, _centre(original, size, path), scale)


def made_clips(*, frames: int, scale: int, size: Size | None = None) -> Iterator[StudyClip]:
    """Yield a flat gradient, texture that is new in every frame, and, with scikit-image, a pan over a photo."""
    size = size or MADE_SIZE
    yield _clip("flat gradient", torch.stack([*flat_gradient(size, frames, levels_per_px=0.1)]), scale)
    yield _clip("texture", torch.stack([*texture(size, frames, grain_px=scale)]), scale)
    yield _clip("photo", torch.stack([*fast_pan(load_photo("astronaut"), size, frames, step_px=scale)]), scale)


def texture(size: Size, frames: int, *, grain_px: int) -> Iterator[Tensor]:
    """Yield smoothed noise, new in every frame, so that contours are equally likely on and off patch lines."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(frames):
        noise = torch.randn((3, size.height, size.width), generator=generator)
        smooth = F.avg_pool2d(noise, 5 * grain_px + 1 - grain_px % 2, stride=1, padding=5 * grain_px // 2)
        yield (0.5 + smooth / smooth.std() * 0.12).clamp(0, 1)


def fast_pan(photo: Tensor, size: Size, frames: int, *, step_px: int) -> Iterator[Tensor]:
    """Yield a pan over a mirrored photo, because a contour that rests on a patch line would score as a seam."""
    endless = torch.cat([photo, photo.flip(-1)], dim=-1)
    endless = torch.cat([endless, endless.flip(-2)], dim=-2)
    endless = endless.tile(1, *(-(-side // had) for side, had in zip(size[::-1], endless.shape[-2:], strict=True)))
    for index in range(frames):
        shift = -index * step_px
        yield endless.roll((shift, shift), dims=(-2, -1))[:, : size.height, : size.width]


def _clip(name: str, original: Tensor, scale: int) -> StudyClip:
    height, width = (side - side % scale for side in original.shape[-2:])
    original = cut(original, Size(width, height))
    return StudyClip(name, bicubic_reduce(original, scale), original)


def _centre(frames: Tensor, size: Size | None, path: Path) -> Tensor:
    if size is None:
        return frames
    has = Size.of(frames)
    if has.width < size.width or has.height < size.height:
        raise SettingsError(f"{path} is {has}, smaller than the size {size}: give a smaller one")
    x, y = (has.width - size.width) // 2, (has.height - size.height) // 2
    return frames[..., y : y + size.height, x : x + size.width]
