"""A file in, a larger file out, as a job: it can be stopped anywhere, and the same call goes on to the same bytes.

The command line, tests and other programs consume the same generator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import torch
from diffusers.utils.logging import disable_progress_bar

from patchvsr.allocator import keep_freed_memory
from patchvsr.config import CHUNK_FRAMES, UpscaleConfig
from patchvsr.errors import SettingsError
from patchvsr.events import Assembling, Event, Finished, Notice, Planned, Scanning, Started, Stopped
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.identity import job_identity
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.memory import fitting_chunk_frames
from patchvsr.jobs.prepare import expected_frames, open_input, prepare
from patchvsr.jobs.restore import Restorer
from patchvsr.jobs.scan import Scan, scan
from patchvsr.jobs.state import State, judge
from patchvsr.media import FrameTimes, refuse_existing
from patchvsr.media.segment import read_segments
from patchvsr.pipeline import PatchVSRPipeline

# Told how long the next unit will probably take, in seconds, if that is known: True stops the job before it.
Stop = Callable[[float | None], bool]


def load_pipeline(config: UpscaleConfig) -> PatchVSRPipeline:
    """The model that `config` names, on its device in its dtype, ready for `upscale`."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
    device = choose_device(config)
    dtype = getattr(torch, config.dtype or "bfloat16")
    disable_progress_bar()  # events say what happens; diffusers' own bar of two parts says nothing
    pipeline = PatchVSRPipeline.from_pretrained(config.model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def choose_device(config: UpscaleConfig) -> str:
    """The device that `config` names, or the best one; raises SettingsError when it cannot be used."""
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"device {device!r} cannot be used: {reason}") from None
    return device


def upscale(
    input_path: str | Path,
    output_path: str | Path,
    config: UpscaleConfig | None = None,
    *,
    pipeline: PatchVSRPipeline | None = None,
    get_pipeline: Callable[[UpscaleConfig], PatchVSRPipeline] = load_pipeline,
    stop: Stop | None = None,
) -> Generator[Event]:
    """Upscales a video file or an image sequence into `output_path`; nothing happens until it is iterated.

    The work is cut into units, and each is kept in the folder `NAME.job` beside the output until all are done. After a
    stop of any kind, power loss included, the same call goes on there, to the same bytes as without a stop.
    `pipeline` may be given to use one loaded model for several files, or `get_pipeline` to load it only when it is
    needed. `stop` is asked before each unit.

    Raises `PatchVSRError` with one clear line for what a user can mend; the output appears under its name only when it
    is complete.
    """
    config = config or UpscaleConfig()
    started_at = time.monotonic()

    def finished(frames: int, *, already_done: bool = False) -> Finished:
        return Finished(str(output_path), frames, time.monotonic() - started_at, already_done)

    # 1. What comes in and what goes out: all that can be refused without reading the whole input is refused here.
    info, size, output, notices = prepare(input_path, output_path, config)
    folder, overwrite = JobFolder(output.path), config.overwrite
    if folder.read_manifest() is None:
        refuse_existing(output.path, info, overwrite=overwrite)
    expected = expected_frames(info, config)
    yield Started(str(input_path), str(output_path), (info.width, info.height), size, expected, notices)

    with folder.locked():
        # 2. The job: new, begun, or finished before. For a new one the whole input is read once.
        manifest = folder.read_manifest()
        pipeline = pipeline or get_pipeline(config)
        pipeline.check_restoration(config.restoration)
        identity = job_identity(Path(input_path), config, size, output.profile, pipeline)
        if manifest is not None:
            state = judge(folder, manifest, identity, output.path)
            if state is State.DONE:
                output.discard(folder.path)
                yield finished(len(manifest.scan.pts), already_done=True)
                return
            overwrite = config.overwrite or state is State.PUBLISHING
            refuse_existing(output.path, info, overwrite=overwrite)
            if state is State.OBSOLETE:  # an earlier, finished job, of an output that is gone or is to be replaced
                manifest = None
        if manifest is None:
            scanned = Scan()
            with open_input(input_path, config) as reader:
                yield from map(Scanning, scan(reader, scanned))
            output.rehearse(len(scanned.pts))
            chunk_frames = config.chunk_frames or fitting_chunk_frames(pipeline, size, config)
            if config.chunk_frames is None and chunk_frames < CHUNK_FRAMES:
                yield Notice(
                    f"little memory is free: restoring {chunk_frames} frames at once instead of {CHUNK_FRAMES}"
                )
            folder.clear()  # not before: until now an earlier output keeps its record
            manifest = Manifest(identity, scanned, chunk_frames, config.overlap_frames, config.unit_frames)
            folder.write_manifest(manifest)

        # 3. The units that are not done yet.
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
        restorer = Restorer(pipeline, config, size, folder, manifest, lambda *at: open_input(input_path, config, *at))
        with closing(restorer):
            for unit in units:
                if folder.is_done(unit.number):
                    continue
                if stop is not None and stop(restorer.expected_s(unit)):
                    yield Stopped(str(output_path), len(units), sum(folder.is_done(u.number) for u in units))
                    return
                yield from restorer.restore(unit, output.encoder())

        # 4. All units and every other stream become one file, which is read back before it gets its name.
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
        refuse_existing(output.path, info, overwrite=overwrite)  # hours may have passed
        output.publish(folder.path)
        folder.drop_units()
        yield finished(len(contents.crcs))
