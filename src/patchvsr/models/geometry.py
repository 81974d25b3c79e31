"""Geometry of latents: how many latent frames and cells a clip has, declared by each autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The same for all autoencoders here. The first frame has its own latent frame, so clips have 4k+1 frames.
TEMPORAL_FACTOR = 4


def is_clip_length(num_frames: int) -> bool:
    """Return whether `num_frames` is a valid clip length: 4k+1."""
    return num_frames >= 1 and num_frames % TEMPORAL_FACTOR == 1


def clip_length(num_frames: int) -> int:
    """Return the length to which a clip is padded: the next 4k+1."""
    return num_frames + (1 - num_frames) % TEMPORAL_FACTOR


def latent_frames(num_frames: int) -> int:
    """Return the number of latent frames of a clip of 4k+1 frames: k+1."""
    return (num_frames - 1) // TEMPORAL_FACTOR + 1


def cells_of(frames: range) -> slice:
    """Return the latent frames of a clip that `frames` of it belong to."""
    return slice(-(-frames.start // TEMPORAL_FACTOR), -(-frames[-1] // TEMPORAL_FACTOR) + 1)


@dataclass(frozen=True)
class Geometry:
    """Sizes of an autoencoder's latents.

    spatial_factor: side of a latent cell in pixels.
    latent_channels: channels of the latents that the transformer denoises.
    condition_channels: channels of the encoded low-quality canvas, a condition of the transformer.
    """

    spatial_factor: int
    latent_channels: int
    condition_channels: int

    def cells(self, height: int, width: int) -> tuple[int, int]:
        """Return the latent size (h, w) for sides in pixels."""
        return height // self.spatial_factor, width // self.spatial_factor

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the latent shape (T, h, w) for a clip of 4k+1 frames and sides in pixels."""
        return (latent_frames(num_frames), *self.cells(height, width))

    def check(self, video: Tensor) -> None:
        """Raise ValueError unless `video` (..., F, H, W) has 4k+1 frames and sides of whole latent cells."""
        num_frames, height, width = video.shape[-3:]
        if not is_clip_length(num_frames) or height % self.spatial_factor or width % self.spatial_factor:
            raise ValueError(
                f"got {num_frames} frames of {width}x{height}; "
                f"needed: 4k+1 frames, sides that are multiples of {self.spatial_factor}"
            )
