"""Show a training run: a progress bar on a terminal, plain lines elsewhere, and tables of validation scores."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from patchvsr.training.trainer import TrainEvent, ValidationEvent

DIGITS = {"ssim_y": 4}


def show_training(events: Iterable[TrainEvent | ValidationEvent], steps: int, console: Console) -> None:
    """Show the events of a run of `steps` steps as they come. Of several processes, only the first one prints."""
    from patchvsr.training.trainer import ValidationEvent

    if os.environ.get("RANK", "0") != "0":
        console = Console(quiet=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=steps)
        for event in events:
            if isinstance(event, ValidationEvent):
                console.print(_score_table(event))
                continue
            status = _status(event, steps)
            bar.update(task, completed=event.step, description=status)
            if not console.is_terminal:
                console.print(f"step {event.step}/{steps}  {status}")


def _status(event: TrainEvent, steps: int) -> str:
    losses = "  ".join(f"{name} {value:.5f}" for name, value in event.losses.items())
    # The bar's own estimate would need events every few seconds.
    left = timedelta(seconds=round((steps - event.step) * event.seconds_per_step))
    return f"{losses}  {event.seconds_per_step:.2f} s/step  {left} left"


def _score_table(event: ValidationEvent) -> Table:
    measures = list(dict.fromkeys(name for scores in event.validation.values() for name in scores))
    table = Table(f"step {event.step}", *measures, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for method, scores in event.validation.items():
        cells = (f"{scores[name]:.{DIGITS.get(name, 2)}f}" if name in scores else "" for name in measures)
        table.add_row(method, *cells)
    return table
