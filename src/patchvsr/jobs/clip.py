"""Frames through the pipeline and back: what every job, preview and calibration does with a run of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from patchvsr.config import UpscaleConfig
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame
from patchvsr.patches.grid import Area
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic


@dataclass(frozen=True)
class Handover:
    """What a clip hands on to the next one of its shot, so that nothing jumps where they meet.

    latents: (C, T, h, w) of the frames that both hold; None for 0 steps. restoration: a shot has only one; None
    where the model knows no such setting.
    """

    latents: Tensor | None
    restoration: float | None


def restore_clip(
    pipeline: PatchVSRPipeline,
    config: UpscaleConfig,
    size: tuple[int, int],
    frames: list[Frame],
    *,
    pieces: Pieces,
    shared: int = 0,
    place: int = 0,
    before: Handover | None = None,
    area: Area | None = None,
) -> tuple[Iterator[Frame], Handover]:
    """Consecutive frames of one shot, restored at `size` (width, height) in their own depth and times.

    The first `shared` frames were in the clip before, which handed `before` on: they are not in the result. `place`:
    number of the first frame for the noise. Also returns what to hand on. area: what to restore, see the pipeline; for
    frames without alpha.
    """
    depth = float(np.iinfo(frames[0].rgb.dtype).max)
    lq = torch.from_numpy(np.stack([frame.rgb for frame in frames])).permute(0, 3, 1, 2).float().div_(depth)

    def work(batch_size: int, tile_px: int) -> tuple[Tensor, Tensor | None, float | None]:
        return pipeline(
            lq,
            size=size,
            num_inference_steps=config.num_inference_steps,
            joint_mode=config.joint_mode,
            seed=config.seed,
            restoration=config.restoration if before is None else before.restoration,
            noise_timestep=config.noise_timestep,
            branch_scale=config.branch_scale,
            color_match=config.color_match,
            batch_size=batch_size,
            tile_px=tile_px,
            first_frame=place,
            known_latents=None if before is None else before.latents,
            area=area,
            return_dict=False,
        )

    hq, latents, restoration = pieces.run(work)
    if latents is not None:
        latents = latents[:, -((config.overlap_frames - 1) // 4 + 1) :]
    return _as_frames(frames[shared:], hq[shared:], depth), Handover(latents, restoration)


def enlarged(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame at `size` (width, height), bicubic: what the model starts from."""
    rgb = _enlarged(frame.rgb, size[::-1])
    return replace(frame, rgb=rgb, alpha=None if frame.alpha is None else _enlarged(frame.alpha, size[::-1]))


def _as_frames(frames: list[Frame], hq: Tensor, depth: float) -> Iterator[Frame]:
    for frame, restored in zip(frames, hq, strict=True):
        dtype = frame.rgb.dtype
        rgb = restored.mul(depth).round_().permute(1, 2, 0).numpy().astype(dtype)
        yield replace(frame, rgb=rgb, alpha=None if frame.alpha is None else _enlarged(frame.alpha, rgb.shape[:2]))


def _enlarged(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(h, w, 3), or (h, w) for the alpha that the model knows nothing of, at `size` (H, W), bicubic."""
    depth = np.iinfo(pixels.dtype).max
    planes = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / depth).permute(2, 0, 1)[None]
    larger = resize_bicubic(planes, (size[0], size[1]))[0].mul_(depth).round_().permute(1, 2, 0)
    return larger.numpy().astype(pixels.dtype).reshape(*size, *pixels.shape[2:])
