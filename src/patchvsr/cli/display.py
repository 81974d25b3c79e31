"""Show the events of an upscale: a progress bar and a few lines for people, or one JSON object per event."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from patchvsr import events as happened
from patchvsr.cli.console import console

if TYPE_CHECKING:
    from patchvsr.jobs.batch import Job
    from patchvsr.jobs.estimate import Estimate


class Display:
    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def follow(self, events: Iterable[happened.Event]) -> happened.Event | None:
        """Show each event as it comes and return the last one."""
        return self._print_json(events) if self.as_json else _Bar().follow(events)

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

    def _print_json(self, events: Iterable[happened.Event]) -> happened.Event | None:
        event = None
        for event in events:
            self._say("", type(event).__name__.lower(), **dataclasses.asdict(event))
        return event


MOST_WORKERS_SHOWN = 16


class _Bar:
    """A transient progress bar, with a line for every worker of a cluster, and permanent lines."""

    def __init__(self) -> None:
        self._workers: dict[str, TaskID] = {}

    def follow(self, events: Iterable[happened.Event]) -> happened.Event | None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), _FramesColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        event = None
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("scanning", total=None)
            for event in events:
                self._show(event, bar, task)
        if event is not None:  # after the bar is removed, or it would leave an empty line
            self._show_last(event)
        return event

    def _show(self, event: happened.Event, bar: Progress, task: TaskID) -> None:
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
                    console.print(f"resuming: {event.units_done} of {event.units} units are done")
                bar.reset(task, description="restoring", total=event.frames, completed=event.frames_done)
            case happened.Progress():
                bar.update(task, completed=event.frames)
            case happened.Notice():
                console.print(event.text)
            case happened.WorkerJoined():
                console.print(f"worker {event.worker} joined: {event.device} on {event.node}")
            case happened.WorkerLeft():
                console.print(f"worker {event.worker} left: {event.reason}")
            case happened.Workers():
                self._show_workers(event, bar, task)
            case happened.Assembling():
                for line in self._workers.values():
                    bar.remove_task(line)
                self._workers.clear()
                bar.update(task, description="assembling")

    def _show_workers(self, event: happened.Workers, bar: Progress, task: TaskID) -> None:
        """Show a line for each worker, and the time left for the whole job at the job's own line."""
        shown = {state.worker: state for state in event.workers[:MOST_WORKERS_SHOWN]}
        for name in self._workers.keys() - shown.keys():
            bar.remove_task(self._workers.pop(name))
        for name, state in shown.items():
            if name not in self._workers:
                self._workers[name] = bar.add_task(name, total=None)
            unit = "waiting" if state.unit is None else f"unit {state.unit}"
            speed = "" if state.frames_per_s is None else f", {state.frames_per_s:.2f} fps"
            bar.update(self._workers[name], description=f"  {name} ({state.device}): {unit}{speed}", total=None)
        more = len(event.workers) - len(shown)
        left = "" if event.left_s is None else f", {timedelta(seconds=round(event.left_s))} left"
        others = f" and {more} more" if more else ""
        bar.update(task, description=f"restoring on {len(shown)}{others} workers, {event.frames_per_s:.2f} fps{left}")

    def _show_last(self, event: happened.Event) -> None:
        match event:
            case happened.Finished(already_done=True):
                console.print(f"{event.output}: already done, {event.frames} frames")
            case happened.Finished():
                console.print(
                    f"{event.output}: {event.frames} frames in, {event.frames} out, {event.seconds:.1f} seconds"
                )
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
