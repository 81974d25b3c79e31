"""A report as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from patchvsr.evaluation.summary import CONFIDENCE, values_of

ARROWS = {"higher": "↑", "lower": "↓", "one": "→1", "zero": "→0", None: ""}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report: means, differences, every clip, what is missing, and what the figures come from."""
    sections = ["# Evaluation", _origin(report), "## Means over clips", means_table(report)]
    sections.append(f"Brackets: {CONFIDENCE:.0%} confidence over clips. Bold: the best mean.")
    if report["differences"]["methods"]:
        against = report["differences"]["against"]
        sections += [f"## Difference to {against}, clip by clip", _table_of(report, report["differences"]["methods"])]
    sections += ["## Clips", *(_clip_table(report, clip) for clip in clips_of(report))]
    if report["missing"]:
        sections += ["## Not measured", "\n".join(f"- {name}: {why}" for name, why in report["missing"].items())]
    sections += ["## Scores", "\n".join(f"- **{heading(score)}**: {score['help']}" for score in report["scores"])]
    sections += ["## Files", _files(report)]
    return "\n\n".join(sections) + "\n"


def means_table(report: Mapping[str, Any]) -> str:
    """Return a row per method with the means of all scores, the best in bold."""
    return _table_of(report, report["means"], best=True)


def heading(score: Mapping[str, Any]) -> str:
    """Return label, unit and which values are better, such as "PSNR-Y dB ↑"."""
    return " ".join(filter(None, (score["label"], score["unit"], ARROWS[score["better"]])))


def best_method(means: Mapping[str, Mapping[str, Any]], score: Mapping[str, Any]) -> str | None:
    """Return the method with the best mean of a score; None if it is not ranked or there is one method only."""
    aims = {"higher": lambda value: -value, "lower": lambda value: value, "one": lambda value: abs(value - 1)}
    aim = {**aims, "zero": abs}.get(score["better"])
    with_it = {method: found[score["name"]]["mean"] for method, found in means.items() if score["name"] in found}
    return None if aim is None or len(with_it) < 2 else min(with_it, key=lambda method: aim(with_it[method]))


def clips_of(report: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(record["clip"] for record in report["clips"]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table_of(report: Mapping[str, Any], means: Mapping[str, Mapping[str, Any]], *, best: bool = False) -> str:
    scores = [score for score in report["scores"] if any(score["name"] in found for found in means.values())]
    winners = {score["name"]: best_method(means, score) if best else None for score in scores}
    rows = [
        [method, *(_mean_cell(found.get(score["name"]), score, winners[score["name"]] == method) for score in scores)]
        for method, found in means.items()
    ]
    return table(["method", *map(heading, scores)], rows)


def _mean_cell(found: Mapping[str, float] | None, score: Mapping[str, Any], is_best: bool) -> str:
    if found is None:
        return ""
    mean, low, high = (f"{found[name]:.{score['digits']}f}" for name in ("mean", "low", "high"))
    text = f"**{mean}**" if is_best else mean
    return text if found["clips"] == 1 else f"{text} [{low}, {high}]"


def _clip_table(report: Mapping[str, Any], clip: str) -> str:
    records = {record["method"]: values_of(record) for record in report["clips"] if record["clip"] == clip}
    scores = [score for score in report["scores"] if any(score["name"] in values for values in records.values())]
    rows = [[method, *(_cell(values, score) for score in scores)] for method, values in records.items()]
    return f"### {clip}\n\n" + table(["method", *map(heading, scores)], rows)


def _cell(values: Mapping[str, float], score: Mapping[str, Any]) -> str:
    return f"{values[score['name']]:.{score['digits']}f}" if score["name"] in values else ""


def _origin(report: Mapping[str, Any]) -> str:
    facts = {"date": report["created"], **report["machine"], **report["versions"], **report["settings"]}
    return "\n".join(f"- {name}: {_text(value)}" for name, value in facts.items() if value is not None)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _files(report: Mapping[str, Any]) -> str:
    rows = [
        [record["clip"], record["method"], role, file["path"], file["sha256"][:16]]
        for record in report["clips"]
        for role, file in record["files"].items()
    ]
    return table(["clip", "method", "file", "path", "SHA-256, first 16 digits"], rows)
