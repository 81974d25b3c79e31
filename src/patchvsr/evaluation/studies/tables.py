"""Rows of a study as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from patchvsr.evaluation.markdown import table
from patchvsr.evaluation.studies.restored import Row


def markdown(rows: Sequence[Row]) -> str:
    """Return a table with a column for every name in the rows, in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return table(columns, [[_cell(row.get(name)) for name in columns] for row in rows])


def means(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return a row for every combination of `keys`, with means over the clips; empty if there is one clip only.

    Rows of one combination must have the same columns, as those of one variant do.
    """
    if len({row["clip"] for row in rows}) < 2:
        return []
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return [{"clip": "mean", **_mean(group, keys)} for group in groups.values()]


def _mean(group: Sequence[Row], keys: Sequence[str]) -> Row:
    def joined(name: str) -> Any:
        values = [row[name] for row in group if row.get(name) is not None]
        numbers = name not in keys and all(isinstance(value, int | float) for value in values)
        return fmean(values) if values and numbers else next(iter(values), None)

    return {name: joined(name) for name in group[0] if name != "clip"}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
