"""Restore the units of a job chunk by chunk; each frame goes straight into the unit's encoder."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from patchvsr.decoding import ClipState
from patchvsr.events import Notice, Progress
from patchvsr.jobs.check import FrameCheck
from patchvsr.jobs.clip import RestoredClip, for_shot
from patchvsr.jobs.folder import UnitRecord
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.plan import Unit
from patchvsr.jobs.stepdown import Pieces
from patchvsr.jobs.work import Work
from patchvsr.media.segment import SegmentWriter
from patchvsr.pipeline import PatchVSRPipeline


@dataclass(frozen=True)
class RestoredUnit:
    """A unit whose segment is written. handover: what the next unit continues from, None if it begins a shot."""

    record: UnitRecord
    handover: ClipState | None


class Restorer:
    """Restore units, keeping the open input and the batch and tile size from one unit to the next."""

    def __init__(self, pipeline: PatchVSRPipeline, work: Work, frames: FrameSource) -> None:
        self._pipeline, self._work, self._frames = pipeline, work, frames
        self._units, self._check = work.manifest.units(), FrameCheck(work.restore, work.manifest.scan)
        self._pieces = Pieces(work.restore.batch_size, work.restore.tile_px)

    def restore(
        self, unit: Unit, segment: Path, previous: ClipState | None
    ) -> Generator[Progress | Notice, None, RestoredUnit]:
        """Restore one unit into the file `segment`. A unit that is stopped before its end leaves no file.

        previous: what the unit before handed over, None at the start of a shot.
        """
        return (yield from self._pieces.retried(lambda: self._restore(unit, segment, previous)))

    def _restore(
        self, unit: Unit, segment: Path, state: ClipState | None
    ) -> Generator[Progress | Notice, None, RestoredUnit]:
        started_at = time.monotonic()
        yield from map(Notice, self._pieces.new_notices())
        given, restorations = self._pieces.applied_to(self._work.restore), []
        settings = given
        writer = SegmentWriter(segment, self._check.encoder(self._work.new_encoder(), unit))
        try:
            for chunk in unit.chunks:
                if not chunk.shared:
                    shot = self._work.manifest.scan.shot_of(chunk.start)
                    settings = for_shot(given, self._pipeline, self._work.size, self._frames, shot)
                frames = self._frames.take(chunk.start, chunk.stop)
                clip = RestoredClip(
                    self._pipeline, settings, self._work.size, frames,
                    place=chunk.place, previous=state if chunk.shared else None,
                )  # fmt: skip
                for frame in self._check.restored(clip, frames, chunk):
                    writer.write(frame)
                state = clip.state
                restorations.append(state.restoration)
                yield Progress(chunk.stop)
            table = writer.close()
        except BaseException:
            writer.abort()
            raise
        effort = {
            "seconds": round(time.monotonic() - started_at, 3),
            "threads": torch.get_num_threads(),
            "restoration": restorations,
            **self._pieces.as_record(),
        }
        return RestoredUnit(UnitRecord(table, effort), state if self._goes_on(unit) else None)

    def close(self) -> None:
        self._frames.close()

    def _goes_on(self, unit: Unit) -> bool:
        following = self._units[unit.number + 1 : unit.number + 2]
        return bool(following) and following[0].continues
