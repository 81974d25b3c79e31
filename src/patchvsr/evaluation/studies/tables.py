"""Rows of a study as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from patchvsr.evaluation.markdown import table
from patchvsr.evaluation.studies.restored import Row
from patchvsr.evaluation.summary import interval


def markdown(rows: Sequence[Row]) -> str:
    """Return a table with a column for every name in the rows, in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return table(columns, [[_cell(row.get(name)) for name in columns] for row in rows])


def means(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return a row for every combination of `keys`, with means over the clips; empty if there is one clip only.

    Rows of one combination must have the same columns, as those of one variant do.
    """
    return [{"clip": "mean", **_mean(group, keys)} for group in _of_several_clips(rows, keys).values()]


def differences(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return a row for every combination of `keys` but the first: its numbers minus those of the first, clip by clip.

    The first is that of the same number of steps, where steps are not what is compared. A number is an interval as of
    `summary.interval`; those that a clip has in one of the two only are left out. Empty if there is one clip only.
    """
    first: dict[Any, dict[str, Row]] = {}
    found = []
    for combination, of_clips in _of_several_clips(rows, keys).items():
        group, told = {row["clip"]: row for row in of_clips}, dict(zip(keys, combination, strict=True))
        base = first.setdefault(None if keys[0] == "steps" else told.get("steps"), group)
        if base is not group:
            found.append({"clip": "difference", **told, **_difference(group, base, keys)})
    return found


def _of_several_clips(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows of every combination of `keys`; none if there is one clip only."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    if len({row["clip"] for row in rows}) > 1:
        for row in rows:
            groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return groups


def _difference(group: Mapping[str, Row], base: Mapping[str, Row], keys: Sequence[str]) -> Row:
    def minus(name: str) -> list[float]:
        pairs = [(row.get(name), base[clip].get(name)) for clip, row in group.items() if clip in base]
        return [a - b for a, b in pairs if isinstance(a, int | float) and isinstance(b, int | float)]

    names = dict.fromkeys(name for row in group.values() for name in row if name not in keys)
    return {name: interval(values) for name in names if (values := minus(name))}


def _mean(group: Sequence[Row], keys: Sequence[str]) -> Row:
    def joined(name: str) -> Any:
        values = [row[name] for row in group if row.get(name) is not None]
        numbers = name not in keys and all(isinstance(value, int | float) for value in values)
        return fmean(values) if values and numbers else next(iter(values), None)

    return {name: joined(name) for name in group[0] if name != "clip"}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return f"{value['mean']:+.3g} [{value['low']:+.3g}, {value['high']:+.3g}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
