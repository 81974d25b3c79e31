"""Restores the units of a job: chunk after chunk through the pipeline, each frame straight into the unit's encoder."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from patchvsr.config import UpscaleConfig
from patchvsr.events import Notice, Progress
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.jobs.frames import FrameSource, OpenReader
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.plan import Chunk, Unit
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame
from patchvsr.media.segment import FrameEncoder, SegmentWriter
from patchvsr.pipeline import PatchVSRPipeline


class Restorer:
    """Keeps what goes on from one unit to the next: the open input, the last latents, the size of pieces, the speed."""

    def __init__(
        self,
        pipeline: PatchVSRPipeline,
        config: UpscaleConfig,
        size: tuple[int, int],
        folder: JobFolder,
        manifest: Manifest,
        open_reader: OpenReader,
    ) -> None:
        """size: (width, height) of the output in pixels."""
        self._pipeline, self._config, self._size = pipeline, config, size
        self._folder, self._scan, self._units = folder, manifest.scan, manifest.units()
        self._frames = FrameSource(open_reader, manifest.scan)
        self._pieces = Pieces(config.batch_size, config.tile_px)
        self._seconds_per_frame: float | None = None

    def expected_s(self, unit: Unit) -> float | None:
        """How long a unit will take by the speed of the last one, in seconds."""
        return None if self._seconds_per_frame is None else self._seconds_per_frame * len(unit.frames)

    def restore(self, unit: Unit, encoder: FrameEncoder) -> Iterator[Progress | Notice]:
        """Restores and stores one unit. Stopped anywhere before its end, nothing of it counts."""
        started_at = time.monotonic()
        latents = self._handed_over(unit)
        writer = SegmentWriter(self._folder.segment_path(unit.number), encoder)
        try:
            for chunk in unit.chunks:
                latents = None if chunk.shared == 0 else latents
                frames, latents = self._restored(chunk, latents)
                for frame in frames:
                    writer.write(frame)
                yield from map(Notice, self._pieces.new_notices())
                yield Progress(chunk.stop)
            table = writer.close()
        except BaseException:
            writer.abort()
            raise
        seconds = time.monotonic() - started_at
        self._seconds_per_frame = seconds / len(unit.frames)
        self._folder.write_unit(
            unit.number,
            UnitRecord(table, {"seconds": round(seconds, 3), **self._pieces.as_record()}),
            latents if self._goes_on(unit) else None,
        )

    def close(self) -> None:
        self._frames.close()

    def _handed_over(self, unit: Unit) -> Tensor | None:
        return self._folder.read_latents(unit.number - 1) if unit.chunks[0].shared else None

    def _goes_on(self, unit: Unit) -> bool:
        following = self._units[unit.number + 1 : unit.number + 2]
        return bool(following) and following[0].chunks[0].shared > 0

    def _restored(self, chunk: Chunk, known: Tensor | None) -> tuple[Iterator[Frame], Tensor | None]:
        """The frames that only this chunk has, and the latents of those that the next one shares."""
        frames = self._frames.take(chunk.start, chunk.stop)
        depth = float(np.iinfo(frames[0].rgb.dtype).max)
        lq = torch.from_numpy(np.stack([frame.rgb for frame in frames])).permute(0, 3, 1, 2).float().div_(depth)
        config = self._config

        def work(batch_size: int, tile_px: int) -> tuple[Tensor, Tensor | None]:
            return self._pipeline(
                lq,
                size=self._size,
                num_inference_steps=config.num_inference_steps,
                joint_mode=config.joint_mode,
                seed=config.seed,
                noise_timestep=config.noise_timestep,
                branch_scale=config.branch_scale,
                batch_size=batch_size,
                tile_px=tile_px,
                first_frame=chunk.place,
                known_latents=known,
                return_dict=False,
            )

        hq, latents = self._pieces.run(work)
        if latents is not None:
            latents = latents[:, -((config.overlap_frames - 1) // 4 + 1) :]
        return self._as_frames(frames[chunk.shared :], hq[chunk.shared :], depth), latents

    def _as_frames(self, frames: list[Frame], hq: Tensor, depth: float) -> Iterator[Frame]:
        for frame, restored in zip(frames, hq, strict=True):
            rgb = restored.mul(depth).round_().permute(1, 2, 0).numpy().astype(frame.rgb.dtype)
            yield Frame(rgb=rgb, pts=frame.pts, duration=frame.duration, time_base=frame.time_base)
