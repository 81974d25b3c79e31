"""Plots as SVG text: a row of means with intervals, and curves over frames.

Colours come from the page: a method has one of the classes m0 to m7 by its place among all, in every plot alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby

WIDTH, ROW, LEFT, RIGHT = 560, 22, 170, 20
CURVE_HEIGHT, AXIS = 150, 18
GROUPS = 250  # of frames, of which a long curve shows the extremes: there is not much more than a pixel for each

Point = tuple[int, float | None]  # number among the measured frames, value


def dots(means: Mapping[str, Mapping[str, float] | None], digits: int, *, label: str = "means") -> str:
    """Return a line per method: its interval as a bar, its mean as a dot with the number; none if it has no mean."""
    shown = [(index, method, found) for index, (method, found) in enumerate(means.items()) if found is not None]
    low, high = min(found["low"] for *_, found in shown), max(found["high"] for *_, found in shown)
    rows = []
    for row, (index, method, found) in enumerate(shown):
        y = ROW * row + ROW / 2
        start, end, middle = (_place(found[name], low, high, LEFT, WIDTH - 70) for name in ("low", "high", "mean"))
        rows.append(
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(method)}</text>'
            f'<line class="m{index % 8}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke-width="3"/>'
            f'<circle class="m{index % 8}" cx="{middle:.1f}" cy="{y}" r="4"/>'
            f'<text x="{WIDTH - 60}" y="{y + 4}">{found["mean"]:.{digits}f}</text>'
        )
    return _svg(WIDTH, ROW * len(shown), "".join(rows), f"{label}: means with intervals")


def curves(values: Mapping[str, Sequence[float | None]], digits: int, *, every: int = 1, label: str = "scores") -> str:
    """Return a curve per method over the measured frames, every n-th; gaps where a frame has no value."""
    known = [value for curve in values.values() for value in curve if value is not None]
    low, high = min(known), max(known)
    last = max(len(curve) for curve in values.values()) - 1
    bottom = CURVE_HEIGHT - 6
    parts = [
        _text(LEFT - 10, 14, "end", f"{high:.{digits}f}"),
        _text(LEFT - 10, bottom, "end", f"{low:.{digits}f}"),
        _text(LEFT, bottom + AXIS, "start", "frame 0"),
        _text(WIDTH - RIGHT, bottom + AXIS, "end", str(last * every)),
    ]
    for index, (method, curve) in enumerate(values.items()):
        for has_value, run in groupby(_thinned(curve), key=lambda point: point[1] is not None):
            if has_value:
                points = [
                    f"{_place(number, 0, last, LEFT, WIDTH - RIGHT):.1f},{_place(value, low, high, bottom - 4, 10):.1f}"
                    for number, value in run
                    if value is not None
                ]
                # A single point is drawn as a line of no length, which has round ends.
                path = " ".join(points if len(points) > 1 else 2 * points)
                parts.append(
                    f'<polyline class="m{index % 8}" points="{path}"><title>{escape(method)}</title></polyline>'
                )
    return _svg(WIDTH, CURVE_HEIGHT + AXIS, "".join(parts), f"{label}: values of every frame")


def _thinned(curve: Sequence[float | None]) -> Iterator[Point]:
    """Yield the points of a curve; of a long one the extremes of every group of frames, so that no peak is lost."""
    size = -(-len(curve) // GROUPS)
    points = list(enumerate(curve))
    for start in range(0, len(points), max(size, 2)):
        group = points[start : start + max(size, 2)]
        known = sorted((value, number) for number, value in group if value is not None)
        yield from sorted({(n, v) for v, n in (known[0], known[-1])}) if size > 2 and known else group


def _place(value: float, low: float, high: float, first: float, last: float) -> float:
    share = 0.5 if math.isclose(low, high) else (value - low) / (high - low)
    return first + share * (last - first)


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _svg(width: int, height: int, content: str, label: str) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{content}</svg>'
