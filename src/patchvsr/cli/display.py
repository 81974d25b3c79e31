"""Show the events of an upscale: a progress bar and a few lines for people, or one JSON object per event."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from patchvsr import events as happened
from patchvsr.cli.console import console

if TYPE_CHECKING:
    from patchvsr.jobs.batch import Job
    from patchvsr.jobs.estimate import Estimate


class Display:
    def __init__(self, as_json: bool, *, at_once: bool = False) -> None:
        """at_once: whether several files may be in flight, so that everything that is shown of one names it."""
        self.as_json, self._at_once = as_json, at_once
        self._bars = _Bars(at_once)

    def begin(self, job: Job) -> None:
        """Show a file as being in flight, until its last event or error."""
        self.notices(job.notices)
        if not self.as_json:
            self._bars.begin(job)

    def show(self, job: Job, event: happened.Event) -> None:
        """Show what has happened to a file in flight."""
        if not self.as_json:
            self._bars.show(job, event)
            return
        of_file = self._at_once and not isinstance(event, happened.WorkerJoined | happened.WorkerLeft)
        named = {"input": str(job.input)} if of_file else {}
        self._say("", type(event).__name__.lower(), **named | dataclasses.asdict(event))

    def ended(self, job: Job) -> None:
        """Take a file that has failed off the display."""
        self._bars.end(job)

    def close(self) -> None:
        self._bars.close()

    def notices(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(line, "notice", text=line)

    def failed(self, job: Job, reason: str) -> None:
        named = any(str(path) in reason for path in (job.input, job.output))
        text = " ".join((reason if named else f"{job.input}: {reason}").splitlines())
        self._say(f"failed: {text}", "failed", input=str(job.input), reason=reason)

    def summary(self, jobs: list[Job], finished: list[Job], failed: dict[Job, str]) -> None:
        left = [job for job in jobs if job not in finished and job not in failed]
        text = f"{len(finished)} of {len(jobs)} done"
        text += f", {len(failed)} failed: {', '.join(str(job.input) for job in failed)}" if failed else ""
        text += f", {len(left)} not finished: run the same command again to resume" if left else ""
        names = {"finished": finished, "failed": failed, "left": left}
        self._say(text, "summary", **{name: [str(job.input) for job in group] for name, group in names.items()})

    def plan(self, plan: Estimate) -> None:
        self._say("\n".join(plan.lines()), "plan", **dataclasses.asdict(plan))

    def sum_of(self, plans: Sequence[Estimate]) -> None:
        from patchvsr.jobs.estimate import Sum

        total = Sum.of(plans)
        self._say("\n".join(total.lines()), "sum", **dataclasses.asdict(total))

    def _say(self, line: str, event: str, **fields: object) -> None:
        if self.as_json:
            print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201
        else:
            console.print(line)


MOST_WORKERS_SHOWN = 16


class _Bars:
    """A transient progress bar for every file in flight. named: whether they are named."""

    def __init__(self, named: bool) -> None:
        self._named = named
        self._progress: Progress | None = None
        self._bars: dict[Job, _Bar] = {}

    def begin(self, job: Job) -> None:
        if self._progress is None:
            columns = (
                TextColumn("{task.description}"), BarColumn(), _FramesColumn(), TextColumn("left"),
                TimeRemainingColumn(),
            )  # fmt: skip
            self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
            self._progress.start()
        self._bars[job] = _Bar(self._progress, job.input if self._named else None)

    def show(self, job: Job, event: happened.Event) -> None:
        if isinstance(event, happened.Finished | happened.Stopped):
            self.end(job)  # before its last line, or the bar would leave an empty line
            _show_last(event)
        else:
            self._bars[job].show(event)

    def end(self, job: Job) -> None:
        if job in self._bars:
            self._bars.pop(job).remove()
        if not self._bars:
            self.close()

    def close(self) -> None:
        self._bars.clear()
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Bar:
    """The bar of a file, with a line for every worker of a cluster, and permanent lines. path: named in them."""

    def __init__(self, bar: Progress, path: Path | None) -> None:
        self._bar, self._path, self._name = bar, path, f"{path.name}: " if path else ""
        self._task = bar.add_task(f"{self._name}scanning", total=None)
        self._workers: dict[str, TaskID] = {}

    def remove(self) -> None:
        self._remove_workers()
        self._bar.remove_task(self._task)

    def show(self, event: happened.Event) -> None:
        bar, task = self._bar, self._task
        match event:
            case happened.Started():
                console.print(f"{event.input} ({event.input_size}) -> {event.output} ({event.output_size})")
                for notice in event.notices:
                    console.print(notice)
                bar.update(task, total=event.num_frames)
            case happened.Scanning():
                bar.update(task, completed=event.frames)
            case happened.Planned():
                if event.units_done:
                    self._print(f"resuming: {event.units_done} of {event.units} units are done")
                bar.reset(task, description=f"{self._name}restoring", total=event.frames, completed=event.frames_done)
            case happened.Progress():
                bar.update(task, completed=event.frames)
            case happened.Notice():
                self._print(event.text)
            case happened.WorkerJoined():
                console.print(f"worker {event.worker} joined: {event.device} on {event.node}")
            case happened.WorkerLeft():
                console.print(f"worker {event.worker} left: {event.reason}")
            case happened.Workers():
                self._show_workers(event)
            case happened.Assembling():
                self._remove_workers()
                bar.update(task, description=f"{self._name}assembling")

    def _print(self, line: str) -> None:
        console.print(f"{self._path}: {line}" if self._path else line)

    def _remove_workers(self) -> None:
        for line in self._workers.values():
            self._bar.remove_task(line)
        self._workers.clear()

    def _show_workers(self, event: happened.Workers) -> None:
        """Show a line for each worker, and the time left for the whole job at the job's own line."""
        bar, shown = self._bar, {state.worker: state for state in event.workers[:MOST_WORKERS_SHOWN]}
        for name in self._workers.keys() - shown.keys():
            bar.remove_task(self._workers.pop(name))
        for name, state in shown.items():
            if name not in self._workers:
                self._workers[name] = bar.add_task(name, total=None)
            unit = "waiting" if state.unit is None else f"{self._name}unit {state.unit}"
            speed = "" if state.frames_per_s is None else f", {state.frames_per_s:.2f} fps"
            bar.update(self._workers[name], description=f"  {name} ({state.device}): {unit}{speed}", total=None)
        more = len(event.workers) - len(shown)
        left = "" if event.left_s is None else f", {timedelta(seconds=round(event.left_s))} left"
        others = f" and {more} more" if more else ""
        bar.update(
            self._task,
            description=f"{self._name}restoring on {len(shown)}{others} workers, {event.frames_per_s:.2f} fps{left}",
        )


def _show_last(event: happened.Finished | happened.Stopped) -> None:
    match event:
        case happened.Finished(already_done=True):
            console.print(f"{event.output}: already done, {event.frames} frames")
        case happened.Finished():
            console.print(f"{event.output}: {event.frames} frames in, {event.frames} out, {event.seconds:.1f} seconds")
        case happened.Stopped(units=0):
            console.print(f"{event.output}: stopped before the first unit; run the same command again to start")
        case happened.Stopped():
            console.print(
                f"{event.output}: stopped with {event.units_done} of {event.units} units done; "
                "run the same command again to resume"
            )


class _FramesColumn(ProgressColumn):
    """Frames done, total frames, and frames per second."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{task.total:.0f}"
        speed = f"{task.finished_speed or task.speed or 0:.2f} fps"
        return Text(f"{task.completed:.0f}/{total} frames {speed}")
