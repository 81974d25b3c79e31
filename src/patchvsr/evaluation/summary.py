"""Means over clips with confidence intervals, and differences between methods on the same clips.

Frames of a clip resemble each other, so a clip counts once, and intervals come from drawing clips again (percentile
bootstrap; Efron and Tibshirani, 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from patchvsr.measures.meter import Score

DRAWS = 10_000
CONFIDENCE = 0.95
MEASURED = (  # of runs, beside the scores of meters
    Score("seconds_per_frame", "Time", "s/frame", "lower", 2, "time of the whole command over the frames"),
    Score("peak_memory_gib", "Memory", "GiB", "lower", 2, "peak resident memory of the command"),
)


def means(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean, low, high and number of clips of every score by method; clips without a score are left out."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in dict.fromkeys(record["method"] for record in records):
        own = [values_of(record) for record in records if record["method"] == method]
        names = dict.fromkeys(name for values in own for name in values)
        found[method] = {name: interval([values[name] for values in own if name in values]) for name in names}
    return found


def differences(records: Sequence[Mapping[str, Any]], against: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return every score of the other methods minus that of `against`, clip by clip, as `means` does.

    An interval that does not hold zero tells which of two methods is better on such clips; the intervals of their
    means often overlap all the same, as clips differ more than methods.
    """
    base = {record["clip"]: values_of(record) for record in records if record["method"] == against}
    pairs = [
        {**record, "run": None, "scores": _minus(values_of(record), base[record["clip"]])}
        for record in records
        if record["method"] != against and record["clip"] in base
    ]
    return means(pairs)


def values_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores of a record, with time and memory of its run."""
    values = dict(record["scores"])
    if run := record.get("run"):
        values["seconds_per_frame"] = run["seconds"] / run["frames"]
        values["peak_memory_gib"] = run["peak_memory_gib"]
    return values


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of clips, and the bounds that hold it with 95 % confidence; both are the mean for one clip."""
    clips = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(clips), size=(DRAWS, len(clips)))
    low, high = np.quantile(clips[drawn].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"mean": float(clips.mean()), "low": float(low), "high": float(high), "clips": len(clips)}


def _minus(values: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    return {name: value - base[name] for name, value in values.items() if name in base}
