"""Restore a run of frames with the pipeline, for jobs, previews and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from patchvsr.decoding import ClipDecoder, ClipState
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame
from patchvsr.patches.grid import Area
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings


class RestoredClip:
    """Restore consecutive frames of one shot at `size`, keeping their bit depth and times.

    Iterating yields the restored frames one by one, each when it is decoded. After the last, `state` is what the next
    clip of the shot continues from.

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
        pieces: Pieces,
        place: int = 0,
        previous: ClipState | None = None,
        area: Area | None = None,
    ) -> None:
        self._frames, self._pieces = frames, pieces
        lq = _Pixels(frames)

        def denoised(batch_size: int, tile_px: int) -> Tensor | None:
            own = replace(settings, batch_size=batch_size, tile_px=tile_px)
            return pipeline.denoise(lq, size, own, first_frame=place, previous=previous, area=area)

        latents = pieces.run(denoised)
        self._decoder: ClipDecoder = pipeline.decoder(lq, size, settings, latents, previous=previous, area=area)

    @property
    def state(self) -> ClipState:
        return self._decoder.state

    def __iter__(self) -> Iterator[Frame]:
        depth = _depth(self._frames[0].rgb)
        for run in self._decoder.runs():
            decoded = self._pieces.run(partial(self._decode, run))
            last = min(run.stop, len(self._frames))  # a clip may be padded
            for frame, restored in zip(self._frames[last - len(decoded) : last], decoded, strict=True):
                rgb = restored.mul(depth).round_().permute(1, 2, 0).numpy().astype(frame.rgb.dtype)
                alpha = None if frame.alpha is None else _enlarged(frame.alpha, Size.of(restored))
                yield replace(frame, rgb=rgb, alpha=alpha)

    def _decode(self, run: range, batch_size: int, tile_px: int) -> Tensor:
        return self._decoder.decode(run, tile_px)


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
