"""Restore a run of frames with the pipeline, for jobs, previews and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from patchvsr.jobs.handover import Handover
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame
from patchvsr.models.geometry import latent_frames
from patchvsr.patches.grid import Area
from patchvsr.pipeline import PatchVSROutput, PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings


def restore_clip(
    pipeline: PatchVSRPipeline,
    settings: ResolvedSettings,
    size: Size,
    frames: list[Frame],
    *,
    pieces: Pieces,
    shared: int = 0,
    place: int = 0,
    before: Handover | None = None,
    area: Area | None = None,
) -> tuple[Iterator[Frame], Handover]:
    """Restore consecutive frames of one shot at `size`, keeping their bit depth and times.

    shared: number of leading frames that the previous clip contained too; they are not returned.
    place: position of the first frame in the noise, see `Chunk`.
    before: handover of the previous clip of the shot.
    area: area of the output to restore, see `PatchVSRPipeline.__call__`; only for frames without alpha.

    Returns the restored frames and the handover for the next clip.
    """
    depth = float(np.iinfo(frames[0].rgb.dtype).max)
    lq = torch.from_numpy(np.stack([frame.rgb for frame in frames])).permute(0, 3, 1, 2).float().div_(depth)

    if before is not None:
        settings = replace(settings, restoration=before.restoration)

    def work(batch_size: int, tile_px: int) -> PatchVSROutput:
        return pipeline.restore(
            lq, size, replace(settings, batch_size=batch_size, tile_px=tile_px),
            first_frame=place, known_latents=None if before is None else before.latents, area=area,
        )  # fmt: skip

    restored = pieces.run(work)
    assert isinstance(restored.frames, Tensor)
    latents = restored.latents
    if latents is not None:
        latents = latents[:, -latent_frames(settings.overlap_frames) :]
    return _as_frames(frames[shared:], restored.frames[shared:], depth), Handover(latents, restored.restoration)


def enlarged(frame: Frame, size: Size) -> Frame:
    """Return a frame at `size` by bicubic interpolation, which is what the model starts from."""
    rgb = _enlarged(frame.rgb, size)
    return replace(frame, rgb=rgb, alpha=None if frame.alpha is None else _enlarged(frame.alpha, size))


def _as_frames(frames: list[Frame], hq: Tensor, depth: float) -> Iterator[Frame]:
    for frame, restored in zip(frames, hq, strict=True):
        dtype = frame.rgb.dtype
        rgb = restored.mul(depth).round_().permute(1, 2, 0).numpy().astype(dtype)
        yield replace(frame, rgb=rgb, alpha=None if frame.alpha is None else _enlarged(frame.alpha, Size.of(restored)))


def _enlarged(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resize (h, w, 3), or (h, w) for alpha, which the model does not restore, to `size` by bicubic interpolation."""
    depth = np.iinfo(pixels.dtype).max
    planes = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / depth).permute(2, 0, 1)[None]
    larger = resize_bicubic(planes, size)[0].mul_(depth).round_().permute(1, 2, 0)
    return larger.numpy().astype(pixels.dtype).reshape(size.height, size.width, *pixels.shape[2:])
