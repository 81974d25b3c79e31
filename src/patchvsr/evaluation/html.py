"""A report as one page that needs nothing else: tables, plots and crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from typing import Any

from patchvsr.evaluation.crops import WorstFrame
from patchvsr.evaluation.markdown import DIFFERENCES, best_method, clips_note, clips_of, difference_heading, heading
from patchvsr.evaluation.plots import curves, dots
from patchvsr.evaluation.summary import values_of, verdict
from patchvsr.extras import require


def html(report: Mapping[str, Any], worst: Sequence[WorstFrame]) -> str:
    """Return the page. `worst` frames are shown as they come."""
    jinja2 = require("jinja2", extra="eval")
    text = package_files("patchvsr.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    scores = [score for score in report["scores"] if any(score["name"] in found for found in report["means"].values())]
    page: str = environment.from_string(text).render(
        report=report,
        scores=scores,
        heading=heading,
        best={score["name"]: best_method(report["means"], score) for score in scores},
        difference_heading=difference_heading,
        about_differences=DIFFERENCES,
        clips_note=lambda found: clips_note(found, report),
        verdict=verdict,
        numbers={method: number for number, method in enumerate(report["means"])},
        dots=lambda score: jinja2.utils.markupsafe.Markup(_dots(report, score)),
        clips=[(clip, _curves(report, clip)) for clip in clips_of(report)],
        values_of=values_of,
        safe=jinja2.utils.markupsafe.Markup,
        worst=worst,
    )
    return page


def _dots(report: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    found = {method: means.get(score["name"]) for method, means in report["means"].items()}
    return dots(found, score["digits"], label=heading(score))


def _curves(report: Mapping[str, Any], clip: str) -> list[tuple[str, str]]:
    """Return (heading, SVG) of every score that frames of the clip have."""
    records = {record["method"]: record for record in report["clips"] if record["clip"] == clip}
    every = next(iter(records.values()))["settings"]["every"]
    drawn = []
    for score in report["scores"]:
        # A method without this score keeps its place, and so every method its colour.
        values = {
            method: records[method]["per_frame"].get(score["name"], []) if method in records else []
            for method in report["means"]
        }
        if sum(value is not None for curve in values.values() for value in curve) > 1:
            drawn.append((heading(score), curves(values, score["digits"], every=every, label=heading(score))))
    return drawn
