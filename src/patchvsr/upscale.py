"""Upscale a file as a job: it can be stopped anywhere, and the same call resumes it and gives the same bytes.

The command line, tests and other programs use the same generator.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from patchvsr.events import Event, Started
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.prepare import expected_frames, prepare
from patchvsr.media import refuse_existing
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings, UpscaleSettings

if TYPE_CHECKING:
    from patchvsr.jobs.work import Engine, Stop
    from patchvsr.pipeline import PatchVSRPipeline


def upscale(
    input_path: str | Path,
    output_path: str | Path,
    settings: UpscaleSettings | None = None,
    *,
    pipeline: PatchVSRPipeline | None = None,
    get_engine: Callable[[], Engine] | None = None,
    stop: Stop | None = None,
) -> Generator[Event]:
    """Upscale a video file or an image sequence into `output_path`. Nothing happens until the generator is iterated.

    The work is cut into units, which are kept in the folder `NAME.job` beside the output until all are done. After a
    stop of any kind, power loss included, the same call resumes there and gives the same bytes as without a stop. The
    output appears under its name only when it is complete.

    pipeline: a loaded model, for example to use one for several files.
    get_engine: provides the place to compute when it is needed, for example a cluster; default this process.
    stop: called before each unit, see `jobs.work.Stop`.

    Raises `PatchVSRError` with a one-line message for errors that a user can fix.
    """
    settings = settings or UpscaleSettings()
    engine = functools.cache(get_engine or functools.partial(local_engine, settings.restore, pipeline))
    with closing(upscale_in_turns(input_path, output_path, settings, engine, stop)) as events:
        for event in events:
            if event is None:
                engine().hand_out()
                engine().take_answers(wait=True)
            else:
                yield event


def upscale_in_turns(
    input_path: str | Path,
    output_path: str | Path,
    settings: UpscaleSettings,
    get_engine: Callable[[], Engine],
    stop: Stop | None,
) -> Generator[Event | None]:
    """Do what `upscale` does as one of several jobs: yield None where the job waits for the workers of its engine.

    The caller, who knows all jobs, then gives the workers their turn: see `jobs.work.Engine.restore`.
    """
    started_at = time.monotonic()
    # Everything that can be refused without reading the whole input is refused here.
    prepared = prepare(input_path, output_path, settings)
    info, size, output, notices = prepared
    folder = JobFolder(output.path)
    if folder.read_manifest() is None:
        refuse_existing(output.path, info, overwrite=settings.encode.overwrite)
    source, expected = Size(info.width, info.height), expected_frames(info, settings.read)
    yield Started(str(input_path), str(output_path), source, size, expected, notices)

    # Imported late: torch and diffusers take seconds to import, and the first event should not wait for them.
    from patchvsr.jobs.run import run_job

    with folder.locked():
        yield from run_job(Path(input_path), prepared, settings, folder, get_engine(), stop, started_at=started_at)


def local_engine(settings: RestoreSettings, pipeline: PatchVSRPipeline | None = None) -> Engine:
    """Return this process as the place to compute, with `pipeline` or the model that the settings name."""
    from patchvsr.jobs.here import Here

    if pipeline is None:
        from patchvsr.loading import load_pipeline

        pipeline = load_pipeline(settings)
    return Here(pipeline)
