"""Inputs that both nodes have, and their values as settings of PatchVSR."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.model_management
from comfy_api.latest import io

from patchvsr.hub.inventory import take_inventory

CATEGORY = "PatchVSR"
AUTOMATIC = -1  # of a number: the model's default, or an estimate
MAX_SEED = 2**32 - 1


def restoring() -> list[io.Input]:
    """Return the inputs that say how frames are restored."""
    return [
        io.Combo.Input("model", options=list(models()), tooltip="Bundled models, and those in the Hub's cache."),
        io.Int.Input(
            "steps", default=AUTOMATIC, min=AUTOMATIC, max=100,
            tooltip="Denoising steps: 0 is fastest and closest to the input, more invent more. -1: the model's own.",
        ),
        io.Float.Input(
            "restoration", default=AUTOMATIC, min=AUTOMATIC, max=1, step=0.05,
            tooltip="How degraded the input is: 0 only sharpens, 1 also removes noise, blur and compression. "
            "Below 0: estimated for each shot.",
        ),
        # A seed that changes with every queueing would be another job each time, and nothing would be resumed.
        io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=False),
    ]  # fmt: skip


def other_model() -> io.Input:
    return io.String.Input(
        "other_model", default="", optional=True, tooltip="A model folder or Hub name, used instead of `model`."
    )


@cache  # ComfyUI asks for a schema again and again, and scanning a large cache takes seconds
def models() -> tuple[str, ...]:
    return tuple(entry.name for entry in take_inventory().entries if entry.kind != "base")


def restore_settings(
    model: str, steps: int, restoration: float, seed: int, other_model: str | None = None
) -> dict[str, Any]:
    """Return settings by name. What is automatic is left out, so that a preset can set it."""
    chosen = {
        "model": (other_model or "").strip() or model,
        "num_inference_steps": None if steps < 0 else steps,
        "restoration": None if restoration < 0 else restoration,
        "seed": seed,
        "device": str(comfy.model_management.get_torch_device()),
    }
    return {name: value for name, value in chosen.items() if value is not None}
