"""Draw the random parameters of a clip from the caller's generator, constant or drifting slowly over its frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Generator, Tensor

Option = TypeVar("Option")


class Draw:
    """Draw parameters for a clip of `num_frames`; `drift` is the largest step per frame, as a fraction of a range."""

    def __init__(self, generator: Generator, num_frames: int, drift: float) -> None:
        self.generator, self.num_frames, self.drift = generator, num_frames, drift

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def choice(self, weights: Mapping[Option, float]) -> Option:
        """Return one of the keys, with probability proportional to its value."""
        probabilities = torch.tensor(list(weights.values()))
        return list(weights)[int(torch.multinomial(probabilities, 1, generator=self.generator))]

    def walk(self, low: float, high: float) -> Tensor:
        """Return (F,) values: a random walk in small steps from a random start, clamped to the range.

        Source: RealBasicVSR, section 4.
        """
        value, values = self.uniform(low, high), []
        step = self.drift * (high - low)
        for _ in range(self.num_frames):
            values.append(value)
            value = min(max(value + self.uniform(-step, step), low), high)
        return torch.tensor(values)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def chance(generator: Generator, share: float) -> bool:
    """Return True with probability `share`."""
    return torch.rand((), generator=generator).item() < share


def below(generator: Generator, bound: int) -> int:
    """Return a random integer in [0, bound)."""
    return int(torch.randint(bound, (), generator=generator).item())
