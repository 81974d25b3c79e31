"""Restore the units of a job in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from patchvsr.decoding import ClipState
from patchvsr.events import Event
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.identity import machine_identity
from patchvsr.jobs.memory import choose_chunk_frames
from patchvsr.jobs.plan import Unit
from patchvsr.jobs.restore import Restorer
from patchvsr.jobs.work import Engine, Machine, Stop, Work
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings


class Here(Engine):
    """A loaded pipeline in this process."""

    def __init__(self, pipeline: PatchVSRPipeline) -> None:
        self._pipeline = pipeline

    def machine(self, settings: RestoreSettings, size: Size, begun_with: dict[str, Any] | None) -> Machine:
        return machine_of(self._pipeline, settings, size)

    def restore(self, work: Work, folder: JobFolder, stop: Stop | None) -> Iterator[Event]:
        units = work.manifest.units()
        seconds_per_frame = _speed_before(units, folder)
        handed_over: tuple[int, ClipState] | None = None  # by the unit restored last, with its number
        frames = FrameSource(work.input, work.read, work.manifest.scan)
        with closing(Restorer(self._pipeline, work, frames)) as restorer:
            for unit in units:
                if folder.is_done(unit.number):
                    continue
                if stop is not None and stop(seconds_per_frame and seconds_per_frame * len(unit.frames)):
                    return
                previous = _previous(unit, handed_over, folder)
                handed_over = None  # a large state is not kept while its unit is restored
                restored = yield from restorer.restore(unit, folder.segment_path(unit.number), previous)
                folder.write_unit(unit.number, restored.record, restored.handover)
                handed_over = None if restored.handover is None else (unit.number, restored.handover)
                seconds_per_frame = restored.record.effort["seconds"] / len(unit.frames)


def machine_of(pipeline: PatchVSRPipeline, settings: RestoreSettings, size: Size) -> Machine:
    """Return the machine that a loaded pipeline is. Reads all weights."""
    restore = pipeline.resolve(settings)
    return Machine(restore, choose_chunk_frames(pipeline, size, restore), machine_identity(pipeline))


def _speed_before(units: list[Unit], folder: JobFolder) -> float | None:
    """Return the seconds per frame of the last unit of an earlier run, None if there is none."""
    done = [unit for unit in units if folder.is_done(unit.number)]
    return folder.read_unit(done[-1].number).effort["seconds"] / len(done[-1].frames) if done else None


def _previous(unit: Unit, handed_over: tuple[int, ClipState] | None, folder: JobFolder) -> ClipState | None:
    """Return what the previous unit handed over, None at the start of a shot. Raises JobError if it is missing."""
    if not unit.continues:
        return None
    if handed_over is not None and handed_over[0] == unit.number - 1:
        return handed_over[1]
    return folder.read_handover(unit.number - 1)
