"""Load the model and choose the device that the settings name."""

from __future__ import annotations

import torch
from diffusers.utils.logging import disable_progress_bar

from patchvsr.allocator import keep_freed_memory
from patchvsr.errors import SettingsError
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.settings import RestoreSettings


def load_pipeline(settings: RestoreSettings) -> PatchVSRPipeline:
    """Return the model on its device in its dtype, ready for `upscale`. Raises ModelError and SettingsError."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
    device = choose_device(settings.device)
    dtype = getattr(torch, settings.dtype or "bfloat16")
    disable_progress_bar()  # events report progress; diffusers' own bar counts two components
    pipeline = PatchVSRPipeline.from_pretrained(settings.model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def choose_device(name: str | None) -> str:
    """Return the device `name`, or the best one for None. Raises SettingsError if it cannot be used."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"device {device!r} cannot be used: {reason}") from None
    return device
