"""All studies by name, and the files that a run of one leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchvsr import files
from patchvsr.evaluation.studies.ablation import ablation
from patchvsr.evaluation.studies.joint import joint
from patchvsr.evaluation.studies.patches import patches
from patchvsr.evaluation.studies.plot import log_plot
from patchvsr.evaluation.studies.restored import Row
from patchvsr.evaluation.studies.steps import steps
from patchvsr.evaluation.studies.tables import differences, markdown, means


@dataclass(frozen=True)
class Study:
    """A study of clips: its function, and what tells its rows apart, besides the clip."""

    rows: Callable[..., Iterator[Row]]
    keys: tuple[str, ...]


# Every function takes (pipeline, clips, steps=..., metrics=...) and yields rows.
STUDIES = {
    "ablation": Study(ablation, ("variant", "steps")),
    "joint": Study(joint, ("mode", "steps")),
    "patches": Study(patches, ("patch", "overlap", "steps")),
    "steps": Study(steps, ("steps",)),
}
EFFICIENCY = "efficiency"  # needs no clips
NAMES = (*STUDIES, EFFICIENCY)


def record(name: str, rows: Iterable[Row], facts: Mapping[str, Any], folder: Path | None) -> Iterator[Row]:
    """Pass on the rows of a study, and after each write NAME.json and NAME.md, so that none is lost if it is stopped.

    facts: what the files say besides the rows: machine, model and settings. folder: where to write, None for nowhere.
    """
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if folder is not None:
            write(name, found, facts, folder)
        yield row


def write(name: str, rows: Sequence[Row], facts: Mapping[str, Any], folder: Path) -> None:
    """Write a study as JSON and Markdown, and the times of `efficiency` as SVG. Raises OutputError if that fails."""
    compared = {"differences": differences(rows, STUDIES[name].keys)} if name in STUDIES else {}
    contents = {"study": name, **facts, "rows": list(rows), **compared}
    texts = {"json": json.dumps(contents, indent=1), "md": table(name, rows)}
    if name == EFFICIENCY and (plot := times_plot(rows)):
        texts["svg"] = plot
    for suffix, text in texts.items():
        files.write_text(folder / f"{name}.{suffix}", f"{text}\n", parents=True)


def table(name: str, rows: Sequence[Row]) -> str:
    """Return the rows of a study as Markdown; if there are several clips, with means and differences to the first."""
    keys = STUDIES[name].keys if name in STUDIES else None
    return markdown([*rows, *(means(rows, keys) + differences(rows, keys) if keys else [])])


def times_plot(rows: Sequence[Row]) -> str | None:
    """Return seconds of a step over megapixels, a curve for each tiling; None if nothing was measured."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if "step_s" in row:
            curves.setdefault(row["tiling"], []).append((row["megapixels"], row["step_s"]))
    return log_plot(curves, "output, megapixels", "seconds per denoising step") if curves else None
