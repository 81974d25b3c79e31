"""Training of the bundled model at toy size, and what tests ask of any stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import toy
from torch import Tensor, nn

from patchvsr.models.mini import sizes
from patchvsr.training.stages import Stage


@contextmanager
def toy_sizes() -> Iterator[pytest.MonkeyPatch]:
    """Within it, `build_stage` builds the real classes at toy size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "new_autoencoder", toy.autoencoder)
        patch.setattr(sizes, "new_base", toy.base_of)
        patch.setattr(sizes, "new_prompt", lambda: nn.Parameter(toy.randn(1, toy.PROMPT_LENGTH, toy.TEXT_DIM)))
        yield patch


def assert_changed(stage: Stage, before: dict[str, Tensor], parts: tuple[str, ...]) -> None:
    """The weights of a stage differ from those before in each of these parts, given by the names' prefixes, only."""
    changed = {key for key, value in stage.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith(parts) for key in changed)
    for part in parts:
        assert any(key.startswith(part) for key in changed), part
