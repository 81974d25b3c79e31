"""Render synthetic clips without a download: a camera move over a photo, and a drifting gradient."""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from patchvsr.errors import PatchVSRError
from patchvsr.pixels.size import Size

# Photos inside the scikit-image wheel, in the public domain or CC0.
PHOTOS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket")

_TURN_RAD = math.radians(1.5)
_ZOOM = (1.0, 0.93)  # fraction of the largest view that fits, at the start and at the end


def load_photo(name: str) -> Tensor:
    """Return a photo of scikit-image, one of `PHOTOS`, (3, H, W) in [0, 1].

    Raises:
        PatchVSRError: scikit-image is not installed.
    """
    # Found and read without importing scikit-image, which would need scipy and more for a PNG.
    package = find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise PatchVSRError("scikit-image is not installed; run: pip install 'patchvsr[demo]'")
    (file,) = Path(package.submodule_search_locations[0], "data").glob(f"{name}.*")
    photo = np.array(Image.open(file).convert("RGB"))
    return torch.from_numpy(photo).permute(2, 0, 1).to(torch.float32) / 255


def sampling_density(photo_size: Size, size: Size) -> float:
    """Return photo pixels per clip pixel at the closest view of `camera_move`; below 1 the photo is magnified."""
    return _ZOOM[1] * _largest_view(photo_size, size)


def _largest_view(photo_size: Size, size: Size) -> float:
    across = (photo_size.width - 1) / _extent(size.width, size.height)
    return min(across, (photo_size.height - 1) / _extent(size.height, size.width))


def camera_move(photo: Tensor, size: Size, frames: int) -> Iterator[Tensor]:
    """Render a smooth pan with a slight zoom and rotation over a photo; no pixel comes from outside the photo.

    The photo is point-sampled without antialiasing. For strong minification, render a larger clip and downscale it.

    Args:
        photo: (3, H, W) in [0, 1].
        size: of the clip.

    Yields:
        `frames` frames (3, height, width) in [0, 1].
    """
    photo_h, photo_w = photo.shape[-2:]
    width, height = size
    largest = _largest_view(Size.of(photo), size)
    y, x = torch.meshgrid(_centred(height), _centred(width), indexing="ij")
    for index in range(frames):
        t = index / max(frames - 1, 1)
        ease = (1 - math.cos(math.pi * t)) / 2  # starts and ends at rest
        turn = _TURN_RAD * math.sin(2 * math.pi * t)
        step = largest * (_ZOOM[0] + (_ZOOM[1] - _ZOOM[0]) * ease)  # photo pixels per clip pixel
        cos, sin = step * math.cos(turn), step * math.sin(turn)
        # Reserve the margin of the largest rotation on every side; the pan uses the rest.
        margin_x = (photo_w - 1 - step * _extent(width, height)) / 2
        margin_y = (photo_h - 1 - step * _extent(height, width)) / 2
        photo_x = cos * x - sin * y + margin_x * (2 * ease - 1)
        photo_y = sin * x + cos * y + margin_y * (2 * ease - 1)
        grid = torch.stack([photo_x / (photo_w / 2), photo_y / (photo_h / 2)], dim=-1)  # (h, w, 2) in [-1, 1]
        yield functional.grid_sample(
            photo[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
        )[0].clamp(0, 1)


def _centred(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float32) - (length - 1) / 2


def _extent(along: int, across: int) -> float:
    return along * math.cos(_TURN_RAD) + across * math.sin(_TURN_RAD)


def flat_gradient(size: Size, frames: int, *, levels_per_px: float = 0.2) -> Iterator[Tensor]:
    """Render a slowly drifting diagonal ramp, like an evening sky: the material on which seams show first.

    It is diagonal so that the bands of its 8-bit version cross the patch lines instead of running along them.

    Yields:
        `frames` frames (3, height, width) in [0, 1], not rounded to 8 bits.
    """
    y, x = torch.meshgrid(_centred(size.height), _centred(size.width), indexing="ij")
    tint = torch.tensor([0.45, 0.5, 0.6]).view(3, 1, 1)
    slope = torch.tensor([1.0, 0.8, 0.5]).view(3, 1, 1) * levels_per_px / 255
    for index in range(frames):
        yield (tint + slope * (x + y + 0.5 * index) / math.sqrt(2)).clamp(0, 1)
