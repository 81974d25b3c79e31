"""The handover from a clip to the next one of its shot, which avoids a jump between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Handover:
    """State that the next clip of a shot starts from.

    latents: (C, T, h, w) of the frames that both clips share; None for 0 steps.
    restoration: the same for a whole shot; None if the model has no such setting.
    """

    latents: Tensor | None
    restoration: float | None
