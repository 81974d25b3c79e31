"""Load the model that the settings name."""

from __future__ import annotations

import torch
from diffusers.utils.logging import disable_progress_bar

from patchvsr.allocator import keep_freed_memory
from patchvsr.compute import choose_device, default_dtype, limit_threads
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.settings import RestoreSettings


def load_pipeline(settings: RestoreSettings) -> PatchVSRPipeline:
    """Return the model on its device in its dtype, ready for `upscale`. Raises ModelError and SettingsError."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
    limit_threads()
    device = choose_device(settings.device)
    dtype = getattr(torch, settings.dtype) if settings.dtype else default_dtype(device)
    disable_progress_bar()  # events report progress; diffusers' own bar counts two components
    pipeline = PatchVSRPipeline.from_pretrained(settings.model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
