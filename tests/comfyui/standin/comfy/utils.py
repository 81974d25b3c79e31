"""The progress bar, whose steps tests can see and act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

steps: list[tuple[float, float, Any]] = []  # value, total, preview
when_stepped: list[Callable[[float, float], None]] = []


class ProgressBar:
    def __init__(self, total: float) -> None:
        self.total, self.current = total, 0.0

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        steps.append((self.current, self.total, preview))
        for act in when_stepped:
            act(self.current, self.total)

    def update(self, value: float) -> None:
        self.update_absolute(self.current + value)
