"""Restore a run of frames with the pipeline, for jobs, previews and calibration."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from patchvsr.decoding import ClipState
from patchvsr.jobs.frames import FrameSource
from patchvsr.media import Frame
from patchvsr.models.restoration import estimate_restoration, looks
from patchvsr.patches.grid import Area
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.canvas import ClipCanvas
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings


class RestoredClip:
    """Restore consecutive frames of one shot at `size`, keeping their bit depth and times.

    Iterating yields the restored frames one by one, each when it is decoded. After the last, `state` is what the next
    clip of the shot continues from. Wan's autoencoder has to encode frames for it, so ask only if there is a next clip.

    place: position of the first frame in the noise, see `Chunk`.
    previous: state of the previous clip of the shot. Frames that both share are not yielded again.
    area: area of the output to restore, see `PatchVSRPipeline.__call__`; only for frames without alpha.
    """

    def __init__(
        self,
        pipeline: PatchVSRPipeline,
        settings: ResolvedSettings,
        size: Size,
        frames: list[Frame],
        *,
        place: int = 0,
        previous: ClipState | None = None,
        area: Area | None = None,
    ) -> None:
        self._frames, self._tile_px, lq = frames, settings.tile_px, _Pixels(frames)
        latents = pipeline.denoise(lq, size, settings, first_frame=place, previous=previous, area=area)
        self._decoder = pipeline.decoder(lq, size, settings, latents, previous=previous, area=area)

    @property
    def state(self) -> ClipState:
        return self._decoder.state

    @property
    def restoration(self) -> float | None:
        return self._decoder.restoration

    def __iter__(self) -> Generator[Frame]:
        depth = _depth(self._frames[0].rgb)
        for run in self._decoder.runs():
            decoded = self._decoder.decode(run, self._tile_px)
            last = min(run.stop, len(self._frames))  # a clip may be padded
            for frame, restored in zip(self._frames[last - len(decoded) : last], decoded, strict=True):
                rgb = restored.mul(depth).round_().permute(1, 2, 0).numpy().astype(frame.rgb.dtype)
                alpha = None if frame.alpha is None else _enlarged(frame.alpha, Size.of(restored))
                yield replace(frame, rgb=rgb, alpha=alpha)


def for_shot(
    settings: ResolvedSettings, pipeline: PatchVSRPipeline, size: Size, frames: FrameSource, shot: range
) -> ResolvedSettings:
    """Return the settings for a shot: with the restoration that it needs, unless that is set or the model has none."""
    if settings.restoration is not None or not pipeline.vae.takes_restoration:
        return settings

    def canvases() -> Generator[ClipCanvas]:
        for look in looks(shot):
            pixels = _Pixels(frames.take(look.start, look.stop))
            yield ClipCanvas(pixels, size, size, len(pixels))

    (first,) = frames.take(shot.start, shot.start + 1)
    scale = size.height / first.rgb.shape[0]
    return replace(settings, restoration=estimate_restoration(pipeline.vae, canvases(), size, scale))


class _Pixels(Sequence[Tensor]):
    """Frames as float32 (3, h, w) in [0, 1], each converted when it is needed."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, number: int) -> Tensor:  # type: ignore[override]
        rgb = self._frames[number].rgb
        return torch.from_numpy(rgb).permute(2, 0, 1).float().div_(_depth(rgb))


def _depth(pixels: np.ndarray) -> float:
    return float(np.iinfo(pixels.dtype).max)


def enlarged(frame: Frame, size: Size) -> Frame:
    """Return a frame at `size` by bicubic interpolation, which is what the model starts from."""
    rgb = _enlarged(frame.rgb, size)
    return replace(frame, rgb=rgb, alpha=None if frame.alpha is None else _enlarged(frame.alpha, size))


def _enlarged(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resize (h, w, 3), or (h, w) for alpha, which the model does not restore, to `size` by bicubic interpolation."""
    depth = _depth(pixels)
    planes = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / depth).permute(2, 0, 1)[None]
    larger = resize_bicubic(planes, size)[0].mul_(depth).round_().permute(1, 2, 0)
    return larger.numpy().astype(pixels.dtype).reshape(size.height, size.width, *pixels.shape[2:])
