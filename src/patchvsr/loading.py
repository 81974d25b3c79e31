"""Load the model that the settings name."""

from __future__ import annotations

import torch
from diffusers.utils.logging import disable_progress_bar

from patchvsr.allocator import keep_freed_memory
from patchvsr.compute import choose_device, default_dtype, limit_threads
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.settings import RestoreSettings

BUNDLED = RestoreSettings().model


def load_pipeline(settings: RestoreSettings) -> PatchVSRPipeline:
    """Return the model on its device in its dtype, ready for `upscale`. Raises ModelError and SettingsError."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
    limit_threads()
    device = choose_device(settings.device)
    dtype = getattr(torch, settings.dtype) if settings.dtype else default_dtype(device)
    disable_progress_bar()  # events report progress; diffusers' own bar counts two components
    if settings.base is not None and settings.model == BUNDLED:
        pipeline = PatchVSRPipeline.from_base(settings.base, dtype=dtype)
    else:
        pipeline = PatchVSRPipeline.from_pretrained(settings.model, base=settings.base, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
