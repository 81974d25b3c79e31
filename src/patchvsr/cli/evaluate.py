"""`patchvsr evaluate`: how good outputs are, or methods on a set. See docs/evaluation.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from patchvsr.cli.console import console
from patchvsr.errors import SettingsError

if TYPE_CHECKING:
    from patchvsr.evaluation.evaluate import Case, Event

app = typer.Typer()


@app.command("evaluate")
def evaluate_command(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder of the report.")],
    pred: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="Folder of outputs; repeatable.")] = None,
    gt: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of originals.")] = None,
    lq: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of low-quality inputs.")] = None,
    set_: Annotated[
        Path | None,
        typer.Option("--set", metavar="DIR", help="Set to run methods on: one of `patchvsr degrade`, or a benchmark."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=COMMAND]",
            help="Method to run on the set: bicubic, lanczos, realesrgan-x4plus, realesrgan-animevideov3, "
            "patchvsr-fast, patchvsr-N with N steps, or a command with {input} and {output}; repeatable.",
            show_default="bicubic and the model at its own number of steps",
        ),
    ] = None,
    model: Annotated[str, typer.Option("-m", "--model", help="Model of the methods patchvsr-N.")] = "mini",
    scale: Annotated[float, typer.Option("-s", "--scale", min=1, help="Scale of the methods.")] = 4,
    metrics: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Metrics, separated by commas.", show_default="all")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Measure frames by themselves at every n-th frame only.")] = 1,
    frames: Annotated[int | None, typer.Option(min=1, help="Measure only the first frames of every clip.")] = None,
    display: Annotated[str, typer.Option(help="Display that JOD are computed for.")] = "standard_4k",
    vsreval: Annotated[bool, typer.Option("--vsreval", help="Also write the layout of vsreval.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per event.")] = False,
) -> None:
    """Measure outputs against originals and inputs, or run methods on a set and measure those.

    If stopped, run the same command again to resume.
    """
    from patchvsr.allocator import keep_freed_memory
    from patchvsr.compute import limit_threads
    from patchvsr.evaluation.evaluate import evaluate
    from patchvsr.evaluation.measure import MeasureSettings
    from patchvsr.measures.panel import METERS

    names = tuple(METERS) if metrics is None else tuple(name.strip() for name in metrics.split(","))
    settings = MeasureSettings(names, every, frames, display)
    cases = _given(pred or [], gt, lq) if set_ is None else _to_run(set_, gt, method or [], model)
    keep_freed_memory()
    limit_threads()
    events = evaluate(cases, output, settings, scale=scale, vsreval=vsreval)
    (_print_json if as_json else _show)(events)


def _given(pred: list[Path], gt: Path | None, lq: Path | None) -> list[Case]:
    from patchvsr.evaluation.clips import find_clips
    from patchvsr.evaluation.evaluate import Case

    if not pred:
        raise SettingsError("nothing to evaluate: give --pred DIR (with --gt DIR), or --set DIR")
    names = [folder.resolve().name for folder in pred]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"two folders are called {twice[0]}: methods are named by their folders, so rename one")
    return [Case(name, clip) for name, folder in zip(names, pred, strict=True) for clip in find_clips(folder, gt, lq)]


def _to_run(folder: Path, gt: Path | None, names: list[str], model: str) -> list[Case]:
    from patchvsr.evaluation.clips import find_set
    from patchvsr.evaluation.evaluate import Case
    from patchvsr.evaluation.methods import parse_method

    clips = find_set(folder, gt)
    chosen = names or ["bicubic", f"patchvsr-{_own_steps(model)}"]
    methods = [parse_method(name, model=model) for name in chosen]
    return [Case(method.name, clip, method) for clip in clips for method in methods]


def _own_steps(model: str) -> int:
    from patchvsr.loading import load_pipeline
    from patchvsr.settings import RestoreSettings

    return load_pipeline(RestoreSettings(model=model)).config.num_inference_steps


def _show(events: Iterable[Event]) -> None:
    from patchvsr.evaluation.evaluate import Reported, Running

    last: dict[str, Any] | None = None
    written: list[Path] = []
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        for event in events:
            progress.update(task, total=event.total, completed=event.done)
            if isinstance(event, Reported):
                last, written = event.report, written + event.written
                continue
            doing = "running" if isinstance(event, Running) else f"measuring frame {event.frames} of"
            progress.update(task, description=f"{doing} {event.case.name}: {event.case.clip.name}")
    if last is not None:
        Console(highlight=False).print(_table(last))
        for name, command in last["missing"].items():
            console.print(f"not measured: {name}: {command}")
        console.print("written: " + ", ".join(map(str, dict.fromkeys(written))))


def _table(report: dict[str, Any]) -> Table:
    """Return a row per score and a column per method, which fits a terminal."""
    from patchvsr.evaluation.markdown import best_method, heading

    means = report["means"]
    table = Table("mean of clips", *means)
    for score in report["scores"]:
        best = best_method(means, score)
        cells = [
            f"{'[bold]' if method == best else ''}{found[score['name']]['mean']:.{score['digits']}f}"
            if score["name"] in found
            else ""
            for method, found in means.items()
        ]
        table.add_row(heading(score), *cells)
    return table


def _print_json(events: Iterable[Event]) -> None:
    from patchvsr.evaluation.evaluate import Reported

    for event in events:
        facts: dict[str, Any] = {"event": type(event).__name__.lower(), "done": event.done, "total": event.total}
        if isinstance(event, Reported):
            facts |= {"means": event.report["means"], "written": list(map(str, event.written))}
        else:
            facts |= {"method": event.case.name, "clip": event.case.clip.name}
        print(json.dumps(facts), flush=True)  # noqa: T201
