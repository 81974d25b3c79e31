"""Plots as SVG text: a row of means with intervals, and curves over frames. Colours come from the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

WIDTH, ROW, LEFT, RIGHT = 560, 22, 170, 20
CURVE_HEIGHT = 150


def dots(means: Mapping[str, Mapping[str, float]], digits: int) -> str:
    """Return a line per method: its interval as a bar, its mean as a dot with the number."""
    low, high = min(found["low"] for found in means.values()), max(found["high"] for found in means.values())
    rows = []
    for index, (method, found) in enumerate(means.items()):
        y = ROW * index + ROW / 2
        start, end, middle = (_place(found[name], low, high, LEFT, WIDTH - 70) for name in ("low", "high", "mean"))
        rows.append(
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(method)}</text>'
            f'<line class="m{index % 8}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke-width="3"/>'
            f'<circle class="m{index % 8}" cx="{middle:.1f}" cy="{y}" r="4"/>'
            f'<text x="{WIDTH - 60}" y="{y + 4}">{found["mean"]:.{digits}f}</text>'
        )
    return _svg(WIDTH, ROW * len(means), "".join(rows), "means with intervals")


def curves(values: Mapping[str, Sequence[float | None]], digits: int) -> str:
    """Return a curve per method over the measured frames; gaps where a frame has no value."""
    known = [value for curve in values.values() for value in curve if value is not None]
    low, high = min(known), max(known)
    longest = max(len(curve) for curve in values.values())
    parts = [
        f'<text x="{LEFT - 10}" y="14" text-anchor="end">{high:.{digits}f}</text>'
        f'<text x="{LEFT - 10}" y="{CURVE_HEIGHT - 6}" text-anchor="end">{low:.{digits}f}</text>'
    ]
    for index, curve in enumerate(values.values()):
        points = [
            None
            if value is None
            else f"{_place(frame, 0, longest - 1, LEFT, WIDTH - RIGHT):.1f},"
            f"{_place(value, low, high, CURVE_HEIGHT - 10, 10):.1f}"
            for frame, value in enumerate(curve)
        ]
        for has_value, run in groupby(points, key=lambda point: point is not None):
            if has_value:
                parts.append(f'<polyline class="m{index % 8}" points="{" ".join(map(str, run))}"/>')
    return _svg(WIDTH, CURVE_HEIGHT, "".join(parts), "scores of every frame")


def _place(value: float, low: float, high: float, first: float, last: float) -> float:
    share = 0.5 if high == low else (value - low) / (high - low)
    return first + share * (last - first)


def _svg(width: int, height: int, content: str, label: str) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{label}">{content}</svg>'
