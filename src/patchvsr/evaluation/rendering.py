"""Write an evaluation's report as JSON, Markdown and HTML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchvsr import files
from patchvsr.evaluation.crops import worst_frames
from patchvsr.evaluation.html import html
from patchvsr.evaluation.markdown import markdown
from patchvsr.evaluation.vsreval import write_vsreval

MAX_CROPS = 24


def write_numbers(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `report.json` and `report.md`, replacing earlier ones."""
    return [_write(folder / "report.json", report_json(report)), _write(folder / "report.md", markdown(report))]


def write_pictures(report: Mapping[str, Any], folder: Path, *, vsreval: bool) -> list[Path]:
    """Write what takes longer, once all is measured: `report.html`, and the layout of vsreval if asked for."""
    page = _write(folder / "report.html", html(report, worst_frames(report, MAX_CROPS)))
    return [page, *(write_vsreval(report, folder / "vsreval") if vsreval else [])]


def report_json(report: Mapping[str, Any]) -> str:
    """Return a report as JSON in its own order, floats with six significant digits, a list of numbers on one line.

    Raises ValueError for a number that JSON does not have, with its place: that is a bug of a meter.
    """
    text = json.dumps(_rounded(report, "report"), indent=1, ensure_ascii=False) + "\n"
    # No text of JSON has a line break inside, so these are lists, of what has no quotes or parts.
    return re.sub(r'\[\n[^"\[\]{}]*\]', lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)


def _rounded(value: Any, place: str) -> Any:
    match value:
        case Mapping():
            return {key: _rounded(part, f"{place}.{key}") for key, part in value.items()}
        case list() | tuple():
            return [_rounded(part, f"{place}[{index}]") for index, part in enumerate(value)]
        case float() if not math.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON does not have")
        case float():
            return float(f"{value:.6g}")
    return value


def _write(path: Path, text: str) -> Path:
    files.write_text(path, text, parents=True)
    return path
