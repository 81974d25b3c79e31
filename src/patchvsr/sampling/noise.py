"""Noise that depends on the position in the video, not on how the work is split."""

import hashlib

import torch
from torch import Tensor


def noise_frames(
    seed: int, first_frame: int, num_frames: int, shape: tuple[int, int, int], *, still: bool = False
) -> Tensor:
    """Return Gaussian noise (C, T, H, W) for `num_frames` latent frames from `first_frame`, float32 on the CPU.

    Each frame has its own generator, seeded by `seed` and its absolute index, so the noise of a frame is the same for
    every chunk, unit, rank and device.

    Args:
        seed: any integer.
        first_frame: absolute index in the video, in latent frames.
        num_frames: T.
        shape: (C, H, W) of the whole canvas; patches are cut from it.
        still: every frame gets the noise of frame 0, so that what a model makes of it does not flicker.
    """
    if still:
        return noise_frames(seed, 0, 1, shape).expand(-1, num_frames, -1, -1)
    noise = torch.empty(shape[0], num_frames, *shape[1:])
    for i in range(num_frames):
        generator = torch.Generator("cpu").manual_seed(_frame_seed(seed, first_frame + i))
        noise[:, i] = torch.randn(shape, generator=generator, dtype=torch.float32)
    return noise


def _frame_seed(seed: int, frame: int) -> int:
    """Hash seed and frame: with seed + frame, frame 1 of seed 0 would equal frame 0 of seed 1."""
    digest = hashlib.blake2b(f"patchvsr noise {seed} {frame}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
