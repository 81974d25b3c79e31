"""Draw curves over two logarithmic axes as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 640, 400, 64, 48, 24
COLOURS = ("#b2182b", "#2166ac", "#1b7837", "#762a83", "#8c510a")


def log_plot(curves: Mapping[str, Curve], x_label: str, y_label: str) -> str:
    """Return an SVG with one line per curve of positive (x, y), in the colours of their names below one another."""
    points = [point for curve in curves.values() for point in curve]
    to_x = _axis([x for x, _ in points], LEFT, WIDTH - MARGIN)
    to_y = _axis([y for _, y in points], HEIGHT - BOTTOM, MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<path d="M{LEFT} {MARGIN}V{HEIGHT - BOTTOM}H{WIDTH - MARGIN}" fill="none" stroke="#666"/>',
        *_ticks([x for x, _ in points], [y for _, y in points], to_x, to_y),
        _text((LEFT + WIDTH) / 2, HEIGHT - 10, x_label),
        _text(LEFT, MARGIN - 8, y_label, "start"),
    ]
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(to_x(x), to_y(y)) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(LEFT + 12, MARGIN + 16 * (number + 1), name, "start", colour))
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """Map values to pixels, logarithmically."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low, self._span = math.log10(low), math.log10(high / low) or 1.0
        self._begin, self._length = begin, end - begin

    def __call__(self, value: float) -> float:
        return self._begin + (math.log10(value) - self._low) / self._span * self._length


def _axis(values: Sequence[float], begin: float, end: float) -> _Axis:
    return _Axis(min(values), max(values), begin, end)


def _ticks(xs: Sequence[float], ys: Sequence[float], to_x: _Axis, to_y: _Axis) -> list[str]:
    across = [_text(to_x(x), HEIGHT - BOTTOM + 16, f"{x:.3g}") for x in sorted(set(xs))]
    return across + [_text(LEFT - 6, to_y(y) + 4, f"{y:g}", "end") for y in _round_values(min(ys), max(ys))]


def _round_values(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v for power in powers for v in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low <= v <= high]


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
