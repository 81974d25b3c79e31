"""Noise that belongs to a place in the video, not to the way the work was split."""

import hashlib

import torch
from torch import Tensor


def noise_frames(seed: int, first_frame: int, num_frames: int, shape: tuple[int, int, int]) -> Tensor:
    """Gaussian noise (C, T, H, W) of the latent frames from `first_frame` on, float32 on the CPU.

    Every frame has a generator of its own, seeded by `seed` and its absolute number, so a frame's noise is
    the same whichever chunk, unit or rank asks for it, and on whichever device it is used.

    Args:
        seed: any whole number.
        first_frame: absolute number in the video, in latent frames.
        num_frames: T.
        shape: (C, H, W) of the whole canvas; a patch takes its part of it.
    """
    noise = torch.empty(shape[0], num_frames, *shape[1:])
    for i in range(num_frames):
        generator = torch.Generator("cpu").manual_seed(_frame_seed(seed, first_frame + i))
        noise[:, i] = torch.randn(shape, generator=generator, dtype=torch.float32)
    return noise


def _frame_seed(seed: int, frame: int) -> int:
    """A hash, because seed + frame would make frame 1 of seed 0 equal frame 0 of seed 1."""
    digest = hashlib.blake2b(f"patchvsr noise {seed} {frame}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
