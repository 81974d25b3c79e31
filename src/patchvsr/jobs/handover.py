"""What a clip hands on to the next one of its shot, so that nothing jumps where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Handover:
    """State that the next clip of a shot starts from.

    latents: (C, T, h, w) of the frames that both clips hold; None for 0 steps. restoration: a shot has only one; None
    where the model has no such setting.
    """

    latents: Tensor | None
    restoration: float | None
