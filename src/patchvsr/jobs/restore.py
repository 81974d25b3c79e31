"""Restore the units of a job chunk by chunk; each frame goes straight into the unit's encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
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
from patchvsr.settings import ResolvedSettings


@dataclass(frozen=True)
class RestoredUnit:
    """A unit whose segment is written. handover: what the next unit needs of it, None if it needs nothing."""

    record: UnitRecord
    handover: ClipState | None


class Restorer:
    """Restore units, keeping the open input, the batch and tile size, and the state for the next unit of the shot."""

    def __init__(self, pipeline: PatchVSRPipeline, work: Work, frames: FrameSource) -> None:
        self._pipeline, self._work, self._frames = pipeline, work, frames
        self._units, self._check = work.manifest.units(), FrameCheck(work.restore, work.manifest.scan)
        self._pieces = Pieces(work.restore.batch_size, work.restore.tile_px)
        self._held: tuple[int, ClipState] | None = None  # after the unit restored last, with its number
        self._estimates: dict[int, float | None] = {}  # of the restoration, by first frame of a shot

    def restore(
        self, unit: Unit, segment: Path, read_handover: Callable[[int], ClipState]
    ) -> Generator[Progress | Notice, None, RestoredUnit]:
        """Restore one unit into the file `segment`. A unit that is stopped before its end leaves no file.

        read_handover: reads what a unit handed over, called only if the unit before is needed and was not the last one.
        """
        return (yield from self._pieces.retried(lambda: self._restore(unit, segment, read_handover)))

    def _restore(
        self, unit: Unit, segment: Path, read_handover: Callable[[int], ClipState]
    ) -> Generator[Progress | Notice, None, RestoredUnit]:
        started_at = time.monotonic()
        yield from map(Notice, self._pieces.new_notices())
        given, restorations = self._pieces.applied_to(self._work.restore), []
        state = self._state_before(unit, given, read_handover)
        following = next(iter(self._units[unit.number + 1 : unit.number + 2]), None)
        continued = [*(chunk.shared > 0 for chunk in unit.chunks[1:]), following is not None and following.continues]
        writer = SegmentWriter(segment, self._check.encoder(self._work.new_encoder(), unit))
        try:
            for chunk, goes_on in zip(unit.chunks, continued, strict=True):
                settings = given if chunk.shared else self._for_shot(given, chunk.start)
                frames = self._frames.take(chunk.start, chunk.stop)
                clip = RestoredClip(
                    self._pipeline, settings, self._work.size, frames,
                    place=chunk.place, previous=state if chunk.shared else None,
                )  # fmt: skip
                for frame in self._check.restored(clip, frames, chunk):
                    writer.write(frame)
                state = clip.state if goes_on else None
                restorations.append(clip.restoration)
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
        if state is not None:
            self._held = unit.number, state
        needed = following is not None and following.needs_previous
        return RestoredUnit(UnitRecord(table, effort), state if needed else None)

    def close(self) -> None:
        self._frames.close()

    def _state_before(
        self, unit: Unit, settings: ResolvedSettings, read_handover: Callable[[int], ClipState]
    ) -> ClipState | None:
        """Return what a unit goes on from, None at the start of a shot."""
        held, self._held = self._held, None  # decoding uses up a state, so a second attempt needs another
        if not unit.continues:
            return None
        # After a warm-up, independent units have another state than this one, and the bytes must not depend on who
        # restored the unit before.
        if held is not None and held[0] == unit.number - 1 and not settings.independent_units:
            return held[1]
        return self._warmed_up(unit, settings) if unit.warm_up else read_handover(unit.number - 1)

    def _warmed_up(self, unit: Unit, settings: ResolvedSettings) -> ClipState:
        """Restore the frames before a unit and return the state after them."""
        state: ClipState | None = None
        # Only restored frames that the next clip begins with must have the input's colours.
        color_match = settings.color_match and not self._pipeline.vae.streaming
        settings = replace(self._for_shot(settings, unit.frames.start), check=False, color_match=color_match)
        for chunk in unit.warm_up:
            frames = self._frames.take(chunk.start, chunk.stop)
            clip = RestoredClip(
                self._pipeline, settings, self._work.size, frames, place=chunk.place, previous=state
            )  # fmt: skip
            for _ in clip:
                pass
            state = clip.state
        assert state is not None
        return state

    def _for_shot(self, settings: ResolvedSettings, number: int) -> ResolvedSettings:
        """Return the settings for the shot that has frame `number`: with the restoration estimated for it."""
        shot = self._work.manifest.scan.shot_of(number)
        if shot.start not in self._estimates:
            chosen = for_shot(settings, self._pipeline, self._work.size, self._frames, shot)
            self._estimates[shot.start] = chosen.restoration
        return replace(settings, restoration=self._estimates[shot.start])
