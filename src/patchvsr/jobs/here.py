"""Restore the units of a job in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from patchvsr.events import Event
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.identity import machine_identity
from patchvsr.jobs.memory import choose_chunk_frames
from patchvsr.jobs.plan import Unit, warm_up_frames
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
        return machine_of(self._pipeline, settings, size, machine_identity(self._pipeline))

    def restore(self, work: Work, folder: JobFolder, stop: Stop | None) -> Iterator[Event]:
        units = work.manifest.units()
        seconds_per_frame = _speed_before(units, folder)
        frames = FrameSource(work.input, work.read, work.manifest.scan)
        with closing(Restorer(self._pipeline, work, frames)) as restorer:
            for unit in units:
                if folder.is_done(unit.number):
                    continue
                if stop is not None and stop(seconds_per_frame and seconds_per_frame * len(unit.frames)):
                    return
                segment = folder.segment_path(unit.number)
                restored = yield from restorer.restore(unit, segment, folder.read_handover)
                folder.write_unit(unit.number, restored.record, restored.handover)
                seconds_per_frame = restored.record.effort["seconds"] / len(unit.frames)


def machine_of(
    pipeline: PatchVSRPipeline,
    settings: RestoreSettings,
    size: Size,
    identity: dict[str, Any],
    usable_gib: float | None = None,
) -> Machine:
    """Return the machine that a loaded pipeline is. identity: its `machine_identity`.

    usable_gib: see `memory.choose_chunk_frames`.
    """
    restore = pipeline.resolve(settings)
    chunk_frames = choose_chunk_frames(pipeline, size, restore, usable_gib)
    warm_up = warm_up_frames(pipeline, restore, chunk_frames)
    return Machine(restore, chunk_frames, warm_up, identity)


def _speed_before(units: list[Unit], folder: JobFolder) -> float | None:
    """Return the seconds per frame of the last unit of an earlier run, None if there is none."""
    done = [unit for unit in units if folder.is_done(unit.number)]
    return folder.read_unit(done[-1].number).effort["seconds"] / len(done[-1].frames) if done else None
