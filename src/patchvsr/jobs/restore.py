"""Restore the units of a job chunk by chunk; each frame goes straight into the unit's encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import torch

from patchvsr.decoding import ClipState
from patchvsr.events import Notice, Progress
from patchvsr.jobs.check import FrameCheck
from patchvsr.jobs.clip import RestoredClip
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.plan import Unit
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media.segment import FrameEncoder, SegmentWriter
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings


class Restorer:
    """Restore units, keeping the open input, the batch and tile size and the speed from one unit to the next."""

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
        self._frames, self._check = frames, FrameCheck(settings, manifest.scan)
        self._pieces = Pieces(settings.batch_size, settings.tile_px)
        self._seconds_per_frame = self._speed_before()
        self._handover: tuple[int, ClipState] | None = None  # of the unit restored last, with its number

    def expected_s(self, unit: Unit) -> float | None:
        """Return the seconds that a unit should take at the speed of the last one, None before the first."""
        return None if self._seconds_per_frame is None else self._seconds_per_frame * len(unit.frames)

    def restore(self, unit: Unit, new_encoder: Callable[[], FrameEncoder]) -> Iterator[Progress | Notice]:
        """Restore and store one unit. A unit that is stopped before its end is restored again as a whole."""
        yield from self._pieces.retried(lambda: self._restore(unit, new_encoder()))

    def _restore(self, unit: Unit, encoder: FrameEncoder) -> Generator[Progress | Notice]:
        started_at = time.monotonic()
        yield from map(Notice, self._pieces.new_notices())
        settings, state, restorations = self._pieces.applied_to(self._settings), self._handed_over(unit), []
        writer = SegmentWriter(self._folder.segment_path(unit.number), self._check.encoder(encoder, unit))
        try:
            for chunk in unit.chunks:
                frames = self._frames.take(chunk.start, chunk.stop)
                clip = RestoredClip(
                    self._pipeline, settings, self._size, frames,
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
        seconds = time.monotonic() - started_at
        self._seconds_per_frame = seconds / len(unit.frames)
        effort = {
            "seconds": round(seconds, 3),
            "threads": torch.get_num_threads(),
            "restoration": restorations,
            **self._pieces.as_record(),
        }
        handover = state if self._goes_on(unit) else None
        self._folder.write_unit(unit.number, UnitRecord(table, effort), handover)
        self._handover = None if handover is None else (unit.number, handover)

    def close(self) -> None:
        self._frames.close()

    def _speed_before(self) -> float | None:
        """Return the seconds per frame of the last unit of an earlier run, None if there is none."""
        done = [unit for unit in self._units if self._folder.is_done(unit.number)]
        if not done:
            return None
        return self._folder.read_unit(done[-1].number).effort["seconds"] / len(done[-1].frames)

    def _handed_over(self, unit: Unit) -> ClipState | None:
        """Return what the previous unit handed over, None at the start of a shot. Raises JobError if it is missing."""
        handover, self._handover = self._handover, None  # used up: a second attempt reads it
        if not unit.chunks[0].shared:
            return None
        if handover is not None and handover[0] == unit.number - 1:
            return handover[1]
        return self._folder.read_handover(unit.number - 1)

    def _goes_on(self, unit: Unit) -> bool:
        following = self._units[unit.number + 1 : unit.number + 2]
        return bool(following) and following[0].chunks[0].shared > 0
