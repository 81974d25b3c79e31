"""The commands `upscale` and `verify`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchvsr.cli.console import INTERRUPTED, NOT_ALL_DONE, console
from patchvsr.cli.display import Display
from patchvsr.cli.options import cluster_settings, ray_option, takes_settings
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.errors import PatchVSRError, SettingsError
from patchvsr.interrupts import two_step_interrupts
from patchvsr.libraries import import_libraries
from patchvsr.settings import RestoreSettings, UpscaleSettings

if TYPE_CHECKING:
    from patchvsr.events import Event
    from patchvsr.jobs.batch import Job
    from patchvsr.jobs.clock import Until
    from patchvsr.jobs.work import Engine, Stop
    from patchvsr.pipeline import PatchVSRPipeline

app = typer.Typer()


@app.command("upscale")
@takes_settings()
def upscale_command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Videos, image sequences (folder or in/%06d.png), folders, or patterns."),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Output file, folder for several inputs, or pattern such as out/%06d.png."),
    ],
    *,
    settings: UpscaleSettings,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Search subfolders too; the output mirrors them.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only estimate the work, memory, disk space and time.")] = False,
    until: Annotated[
        str | None, typer.Option(metavar="HH:MM", help="Start no unit that would end after this time.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Also write OUT.report.json with settings, hashes, scores and times.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per event on standard output.")
    ] = False,
    ray: Annotated[str | None, ray_option("Restore on a Ray cluster", show_default="this process")] = None,
    workers: Annotated[
        int | None, typer.Option(help="With --ray: the most workers.", show_default="as many as there is room for")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="With --ray: GPUs of a worker.", show_default="1, or 0 if there are none")
    ] = None,
    cpus_per_worker: Annotated[
        int | None, typer.Option(help="With --ray: CPUs and threads of a worker.", show_default="its share of the node")
    ] = None,
    patch_parallel: Annotated[
        int | None,
        typer.Option(help="With --ray: devices of a node that share the patches of every step.", show_default="1"),
    ] = None,
    shared_storage: Annotated[
        bool | None,
        typer.Option(
            "--shared-storage/--no-shared-storage",
            help="With --ray: whether workers see input and output under the same paths.",
            show_default="found out",
        ),
    ] = None,
) -> None:
    """Upscale videos, keeping every frame, timestamp and stream. If stopped, run the same command again to resume."""
    from patchvsr.jobs.batch import find_jobs
    from patchvsr.jobs.clock import Until, parse_until

    cluster = cluster_settings(
        ray, workers=workers, gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker,
        patch_parallel=patch_parallel, shared_storage=shared_storage,
    )  # fmt: skip
    if plan and cluster is not None:
        raise SettingsError("--plan estimates the work on this machine: give it without --ray")
    jobs = find_jobs(inputs, output, recursive=recursive)
    deadline = None if until is None else Until(parse_until(until, datetime.now()))
    if plan:
        _show_plans(jobs, settings, Display(as_json))
        return
    display = Display(as_json, at_once=cluster is not None and len(jobs) > 1)
    run = Run(settings, jobs, display, deadline, cluster, report=report)
    try:
        with two_step_interrupts(_say_stopping) as interrupts:
            run.all(lambda: interrupts.requested)
    except KeyboardInterrupt:
        console.print("interrupted: finished units are kept; run the same command again to resume")
        raise typer.Exit(INTERRUPTED) from None
    if interrupts.requested and not run.all_done:
        raise typer.Exit(INTERRUPTED)
    if not run.all_done:
        raise typer.Exit(NOT_ALL_DONE)


def _say_stopping() -> None:
    console.print("stopping after this unit; press Ctrl-C again to stop at once (finished units are kept)")


@app.command("verify")
def verify_command(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Finished output.")],
    job: Annotated[Path | None, typer.Option(help="Job folder, if not beside it.", show_default="OUT.job")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also decode input and output and compare every frame with its input frame.")
    ] = False,
    input_path: Annotated[
        Path | None, typer.Option("--input", help="Input, for --deep.", show_default="where the job read it")
    ] = None,
) -> None:
    """Check an output against its job's record: number of frames, every timestamp, a CRC of every frame and stream."""
    from patchvsr.jobs.verify import verify

    found = verify(output, job, deep=deep, input_path=input_path)
    if found.difference is not None:
        console.print(f"{output}: differs: {found.difference}")
        raise typer.Exit(NOT_ALL_DONE)
    console.print(f"{output}: {found.frames} frames and {found.streams} other streams match the record")
    if deep:
        console.print(f"{output}: every frame shows what its input frame shows")


class Run:
    """Run the jobs of one command with one loaded model. A failed job does not stop the others."""

    def __init__(
        self,
        settings: UpscaleSettings,
        jobs: list[Job],
        display: Display,
        deadline: Until | None,
        cluster: ClusterSettings | None,
        *,
        report: bool,
    ) -> None:
        self._settings, self._jobs, self._display = settings, jobs, display
        self._deadline, self._cluster, self._report = deadline, cluster, report
        self._finished: list[Job] = []
        self._failed: dict[Job, str] = {}

    @property
    def all_done(self) -> bool:
        return len(self._finished) == len(self._jobs)

    def all(self, interrupted: Callable[[], bool]) -> None:
        """Run all jobs. Raises the error of a single job; with several jobs, errors are listed in a summary instead."""
        _check_model(self._settings.restore, here=self._cluster is None)
        with ExitStack() as until_end:
            get_engine = functools.cache(lambda: self._engine(until_end))
            self._all(get_engine, interrupted)
        if len(self._jobs) > 1:
            self._display.summary(self._jobs, self._finished, self._failed)

    def _all(self, get_engine: Callable[[], Engine], interrupted: Callable[[], bool]) -> None:
        from patchvsr.events import Finished
        from patchvsr.jobs.in_flight import run_jobs
        from patchvsr.upscale import upscale_in_turns

        def stop(expected_s: float | None) -> bool:
            late = self._deadline is not None and not self._deadline.should_start(expected_s, datetime.now())
            return late or interrupted()

        def begin(job: Job) -> Generator[Event | None]:
            self._display.begin(job)
            events = upscale_in_turns(job.input, job.output, self._settings, get_engine, stop)
            return _stopped_while_looking(events, job, stop)

        with closing(self._display), closing(run_jobs(self._jobs, begin, get_engine, stop)) as told:
            for job, event in told:
                if isinstance(event, PatchVSRError | FloatingPointError):
                    self._fail(job, event)
                    continue
                self._display.show(job, event)
                if isinstance(event, Finished):
                    try:
                        self._finish(job)
                    except (PatchVSRError, FloatingPointError) as error:
                        self._fail(job, error)

    def _fail(self, job: Job, error: PatchVSRError | FloatingPointError) -> None:
        """Note that a job has failed. Raises the error of a single job."""
        self._display.ended(job)
        self._failed[job] = str(error)
        if len(self._jobs) > 1 or self._display.as_json:
            self._display.failed(job, str(error))
        if len(self._jobs) == 1:
            raise error

    def _finish(self, job: Job) -> None:
        """Note that a job is done, and write its report."""
        if self._report:
            from patchvsr.evaluation.job_report import write_job_report

            self._display.notices([f"report: {write_job_report(job.input, job.output, self._settings.read)}"])
        self._finished.append(job)

    def _engine(self, until_end: ExitStack) -> Engine:
        """Load the model here, or connect to the cluster until `until_end` closes."""
        if self._cluster is None:
            from patchvsr.upscale import local_engine

            return local_engine(self._settings.restore, _load(self._settings.restore))
        from patchvsr.distributed.cluster import connect

        return until_end.enter_context(connect(self._cluster, self._settings.restore))


def _stopped_while_looking(events: Generator[Event | None], job: Job, stop: Stop) -> Generator[Event | None]:
    """Yield the same events, and stop at any frame of the scan, which takes minutes for a long film."""
    from patchvsr.events import Scanning, Stopped

    with closing(events):
        for event in events:
            yield event
            if isinstance(event, Scanning) and stop(None):
                events.close()
                yield Stopped(str(job.output), units=0, units_done=0)


def _load(settings: RestoreSettings) -> PatchVSRPipeline:
    import_libraries()
    from patchvsr.loading import load_pipeline

    return load_pipeline(settings)


def _check_model(settings: RestoreSettings, *, here: bool = True) -> None:
    """Raise for an unusable model or device before anything else. torch is imported only if a device is given.

    here: whether the model will run in this process.
    """
    from patchvsr.models.registry import resolve_model

    resolve_model(settings.model)
    if here and settings.device is not None:
        from patchvsr.compute import choose_device

        choose_device(settings.device)


def _show_plans(jobs: list[Job], settings: UpscaleSettings, display: Display) -> None:
    """Show the estimate of each job. Raises the error of a single job; with several jobs, errors are shown instead."""
    from patchvsr.jobs.estimate import estimate

    _check_model(settings.restore)
    get_pipeline = functools.cache(lambda: _load(settings.restore))
    plans = []
    for job in jobs:
        display.notices(job.notices)
        try:
            plans.append(estimate(job.input, job.output, settings, get_pipeline))
        except (PatchVSRError, FloatingPointError) as error:
            if len(jobs) == 1:
                raise
            display.failed(job, str(error))
        else:
            display.plan(plans[-1])
    if len(jobs) > 1 and plans:
        display.sum_of(plans)
    if len(plans) < len(jobs):
        raise typer.Exit(NOT_ALL_DONE)
