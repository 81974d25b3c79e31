"""Run a job: restore the units that are not done yet, then assemble the output."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

from patchvsr.events import Assembling, Event, Finished, Notice, Planned, Scanning, Stopped
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.identity import begun_with, job_identity
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.prepare import Prepared
from patchvsr.jobs.scan import Scan, scan
from patchvsr.jobs.state import State, judge
from patchvsr.jobs.work import Engine, Stop, Work
from patchvsr.media import FrameTimes, open_reader, refuse_existing
from patchvsr.media.segment import read_segments
from patchvsr.settings import CHUNK_FRAMES, UpscaleSettings


def run_job(
    input_path: Path,
    prepared: Prepared,
    settings: UpscaleSettings,
    folder: JobFolder,
    engine: Engine,
    stop: Stop | None,
    *,
    started_at: float,
) -> Generator[Event | None]:
    """Do the work of `upscale_in_turns` in a locked job folder. started_at: when it began, on the monotonic clock.

    Raises `PatchVSRError` as `upscale` does.
    """
    info, size, output, _ = prepared
    read, overwrite = settings.read, settings.encode.overwrite

    def finished(frames: int, *, already_done: bool = False) -> Finished:
        return Finished(str(output.path), frames, time.monotonic() - started_at, already_done)

    # 1. Fill in the model's defaults. From here on, only the chunk length is undecided.
    manifest = folder.read_manifest()
    machine = engine.machine(settings.restore, size, None if manifest is None else begun_with(manifest.identity))
    restore = machine.restore

    # 2. Tell whether the job is new, begun or finished. For a new one, scan the whole input.
    identity = job_identity(input_path, read, restore, size, output.profile, machine.identity)
    if manifest is not None:
        state = judge(folder, manifest, identity, output.path)
        if state is State.DONE:
            output.discard(folder.path)
            yield finished(len(manifest.scan.pts), already_done=True)
            return
        overwrite = settings.encode.overwrite or state is State.PUBLISHING
        refuse_existing(output.path, info, overwrite=overwrite)
        if state is State.OBSOLETE:  # a finished job whose output is gone or to be replaced
            manifest = None
    if manifest is None:
        scanned = Scan()
        with open_reader(input_path, read) as reader:
            yield from map(Scanning, scan(reader, scanned))
        output.rehearse(len(scanned.pts))
        chunk_frames = machine.chunk_frames
        if restore.chunk_frames is None and chunk_frames < CHUNK_FRAMES:
            yield Notice(
                f"little memory is free: restoring {chunk_frames} frames at once instead of {CHUNK_FRAMES} "
                "(another result; with the bundled model less than 0.01 dB from the usual one's quality)"
            )
        folder.clear()  # not earlier: an existing output keeps its record until now
        manifest = Manifest(
            identity, scanned, chunk_frames, restore.overlap_frames, restore.unit_frames, str(input_path.absolute()),
            machine.warm_up_frames,
        )  # fmt: skip
        folder.write_manifest(manifest)

    # 3. Restore the units that are not done yet.
    units = manifest.units()
    done = [unit for unit in units if folder.is_done(unit.number)]
    yield Planned(
        str(folder.path),
        frames=len(manifest.scan.pts),
        shots=len(manifest.scan.cuts),
        units=len(units),
        units_done=len(done),
        frames_done=sum(len(unit.frames) for unit in done),
    )
    yield from engine.restore(Work(input_path, read, restore, size, manifest, output.encoder), folder, stop)
    units_done = sum(folder.is_done(unit.number) for unit in units)
    if units_done < len(units):
        yield Stopped(str(output.path), len(units), units_done)
        return

    # 4. Assemble units and other streams into the output, read it back, then give it its final name.
    yield Assembling()
    records = [folder.read_unit(unit.number) for unit in units]
    paths = [folder.segment_path(unit.number) for unit in units]
    contents = output.assemble(
        read_segments([(path, record.table) for path, record in zip(paths, records, strict=True)]),
        FrameTimes(manifest.scan.pts, manifest.scan.durations),
        reorder=max(record.table.reorder for record in records),
        folder=folder.path,
    )
    folder.write_result(contents, [record.effort for record in records])
    refuse_existing(output.path, info, overwrite=overwrite)  # hours may have passed since the first check
    output.publish(folder.path)
    folder.drop_units()
    yield finished(len(contents.crcs))
