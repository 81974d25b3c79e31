"""Restores the units of a job: chunk after chunk through the pipeline, each frame straight into the unit's encoder."""

from __future__ import annotations

import time
from collections.abc import Iterator

from patchvsr.events import Notice, Progress
from patchvsr.jobs.clip import restore_clip
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.handover import Handover
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.plan import Unit
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media.segment import FrameEncoder, SegmentWriter
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings


class Restorer:
    """Keeps what goes on from one unit to the next: the open input, the size of pieces, the speed."""

    def __init__(
        self,
        pipeline: PatchVSRPipeline,
        settings: ResolvedSettings,
        size: Size,
        folder: JobFolder,
        manifest: Manifest,
        frames: FrameSource,
    ) -> None:
        self._pipeline, self._settings, self._size = pipeline, settings, size
        self._folder, self._scan, self._units = folder, manifest.scan, manifest.units()
        self._frames = frames
        self._pieces = Pieces(settings.batch_size, settings.tile_px)
        self._seconds_per_frame = self._speed_before()

    def expected_s(self, unit: Unit) -> float | None:
        """How long a unit will take by the speed of the last one, in seconds; None before the first."""
        return None if self._seconds_per_frame is None else self._seconds_per_frame * len(unit.frames)

    def restore(self, unit: Unit, encoder: FrameEncoder) -> Iterator[Progress | Notice]:
        """Restores and stores one unit. Stopped anywhere before its end, nothing of it counts."""
        started_at = time.monotonic()
        before = self._handed_over(unit)
        restorations = []
        writer = SegmentWriter(self._folder.segment_path(unit.number), encoder)
        try:
            for chunk in unit.chunks:
                before = None if chunk.shared == 0 else before
                frames = self._frames.take(chunk.start, chunk.stop)
                restored, before = restore_clip(
                    self._pipeline, self._settings, self._size, frames,
                    pieces=self._pieces, shared=chunk.shared, place=chunk.place, before=before,
                )  # fmt: skip
                restorations.append(before.restoration)
                for frame in restored:
                    writer.write(frame)
                yield from map(Notice, self._pieces.new_notices())
                yield Progress(chunk.stop)
            table = writer.close()
        except BaseException:
            writer.abort()
            raise
        seconds = time.monotonic() - started_at
        self._seconds_per_frame = seconds / len(unit.frames)
        effort = {"seconds": round(seconds, 3), "restoration": restorations, **self._pieces.as_record()}
        self._folder.write_unit(unit.number, UnitRecord(table, effort), before if self._goes_on(unit) else None)

    def close(self) -> None:
        self._frames.close()

    def _speed_before(self) -> float | None:
        """Seconds a frame took in the last unit of an earlier run, if there is one."""
        done = [unit for unit in self._units if self._folder.is_done(unit.number)]
        if not done:
            return None
        return self._folder.read_unit(done[-1].number).effort["seconds"] / len(done[-1].frames)

    def _handed_over(self, unit: Unit) -> Handover | None:
        """None at the beginning of a shot. Raises JobError when what was handed on is gone."""
        return self._folder.read_handover(unit.number - 1) if unit.chunks[0].shared else None

    def _goes_on(self, unit: Unit) -> bool:
        following = self._units[unit.number + 1 : unit.number + 2]
        return bool(following) and following[0].chunks[0].shared > 0
