"""A report as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from patchvsr.evaluation.summary import CONFIDENCE, FEWEST_FOR_VERDICT, values_of, verdict

ARROWS = {"higher": "↑", "lower": "↓", "one": "→1", "zero": "→0", None: ""}
DIFFERENCE_ARROWS = {**ARROWS, "one": "from 1 ↓", "zero": "from 0 ↓"}
DIFFERENCES = (
    f"Better or worse: the interval does not hold zero (not said for fewer than {FEWEST_FOR_VERDICT} clips). "
    "Of scores that should be 1 or 0, the distances from it are compared."
)

Mark = Callable[[str, Mapping[str, Any]], str | None]  # what to say of the mean of a method and a score


def markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report: means, differences, every clip, what is missing, and what the figures come from."""
    sections = ["# Evaluation", _origin(report), "## Means over clips", means_table(report)]
    sections.append(f"Brackets: {CONFIDENCE:.0%} confidence over clips. Bold: the best mean.")
    if report["differences"]["methods"]:
        against = report["differences"]["against"]
        sections += [f"## Difference to {against}, clip by clip", differences_table(report), DIFFERENCES]
    sections += ["## Clips", *(_clip_table(report, clip) for clip in clips_of(report))]
    if report["missing"]:
        sections += ["## Not measured", "\n".join(f"- {name}: {why}" for name, why in report["missing"].items())]
    sections += ["## Scores", "\n".join(f"- **{heading(score)}**: {score['help']}" for score in report["scores"])]
    sections += ["## Files", _files(report)]
    return "\n\n".join(sections) + "\n"


def means_table(report: Mapping[str, Any]) -> str:
    """Return a row per method with the means of all scores, the best in bold."""
    means = report["means"]
    winners = {score["name"]: best_method(means, score) for score in report["scores"]}
    return _table_of(report, means, heading, lambda method, score: "best" if winners[score["name"]] == method else None)


def differences_table(report: Mapping[str, Any]) -> str:
    """Return a row per other method with the differences of all scores, and the verdict where there is one."""
    found = report["differences"]["methods"]
    return _table_of(
        report, found, difference_heading, lambda method, score: verdict(found[method][score["name"]], score)
    )


def heading(score: Mapping[str, Any]) -> str:
    """Return label, unit and which values are better, such as "PSNR-Y dB ↑"."""
    return " ".join(filter(None, (score["label"], score["unit"], ARROWS[score["better"]])))


def difference_heading(score: Mapping[str, Any]) -> str:
    """Return the heading of differences, which are between distances where a score should be 1 or 0."""
    return " ".join(filter(None, (score["label"], score["unit"], DIFFERENCE_ARROWS[score["better"]])))


def clips_note(found: Mapping[str, float], report: Mapping[str, Any]) -> str:
    """Return the number of clips with a score if it is not that of the report, such as "8 clips"."""
    count = found["clips"]
    return "" if count == len(clips_of(report)) else f"{count} clip{'' if count == 1 else 's'}"


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


def _table_of(
    report: Mapping[str, Any],
    means: Mapping[str, Mapping[str, Any]],
    heading: Callable[[Mapping[str, Any]], str],
    mark: Mark,
) -> str:
    scores = [score for score in report["scores"] if any(score["name"] in found for found in means.values())]

    def cell(method: str, score: Mapping[str, Any]) -> str:
        found = means[method].get(score["name"])
        return "" if found is None else _mean_cell(found, score, mark(method, score), clips_note(found, report))

    rows = [[method, *(cell(method, score) for score in scores)] for method in means]
    return table(["method", *map(heading, scores)], rows)


def _mean_cell(found: Mapping[str, float], score: Mapping[str, Any], mark: str | None, note: str) -> str:
    mean, low, high = (f"{found[name]:.{score['digits']}f}" for name in ("mean", "low", "high"))
    shown = f"**{mean}**" if mark == "best" else mean
    bounds = "" if found["clips"] == 1 else f" [{low}, {high}]"
    said = "" if mark in (None, "best") else f" {mark}"
    return f"{shown}{bounds}{said}{note and f' ({note})'}"


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
