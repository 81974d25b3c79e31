"""Write an evaluation's report as JSON, Markdown and HTML."""

from __future__ import annotations

import json
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
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return [_write(folder / "report.json", text), _write(folder / "report.md", markdown(report))]


def write_pictures(report: Mapping[str, Any], folder: Path, *, vsreval: bool) -> list[Path]:
    """Write what takes longer, once all is measured: `report.html`, and the layout of vsreval if asked for."""
    page = _write(folder / "report.html", html(report, worst_frames(report, MAX_CROPS)))
    return [page, *(write_vsreval(report, folder / "vsreval") if vsreval else [])]


def _write(path: Path, text: str) -> Path:
    with files.reported(path, lambda: None):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_durably(path, text.encode())
    return path
