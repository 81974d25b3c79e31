"""Load the model that the settings name."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.utils.logging import disable_progress_bar

from patchvsr.allocator import keep_freed_memory
from patchvsr.compute import choose_device, default_dtype, limit_threads
from patchvsr.errors import SettingsError
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.sampling.schedule import replaced
from patchvsr.settings import RestoreSettings

BUNDLED = RestoreSettings().model
# Wan's autoencoder needs blocks of hundreds of megabytes in many sizes, by turns in float32 and bfloat16. Kept, they
# leave gaps that the next ones do not fit: up to 1.8 times the memory of a tile, for up to 12 % of its time.
WAN_KEEPS_BYTES = 32 << 20


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
    if isinstance(pipeline.vae, WanAutoencoder):
        keep_freed_memory(WAN_KEEPS_BYTES)
    if pipeline.transformer is None:
        _refuse_transformer_settings(settings)
        return pipeline.to(device)
    if settings.scheduler is not None:
        pipeline.register_modules(scheduler=replaced(pipeline.scheduler, settings.scheduler))
    if settings.storage_dtype is not None:
        pipeline.transformer.enable_layerwise_casting(getattr(torch, settings.storage_dtype), compute_dtype=dtype)
    _set_kernels(pipeline.transformer, settings)
    if not settings.cpu_offload:
        return pipeline.to(device)
    if torch.device(device).type == "cpu":
        raise SettingsError("cpu_offload is for devices with memory of their own; the cpu computes on the host")
    pipeline.vae.to(device)
    offload_layers(pipeline.transformer, torch.device(device))
    return pipeline


def offload_layers(
    transformer: PatchVSRTransformer3DModel, device: torch.device, *, disk_folder: Path | None = None
) -> None:
    """Keep the weights on the host, or in a folder; each layer is on the device only while it computes."""
    transformer.enable_group_offload(
        onload_device=device,
        offload_type="leaf_level",
        use_stream=device.type == "cuda",  # the next layer is on its way while one computes
        offload_to_disk_path=None if disk_folder is None else str(disk_folder),
    )


def _refuse_transformer_settings(settings: RestoreSettings) -> None:
    for name in ("scheduler", "storage_dtype", "cpu_offload", "attention_backend", "compile"):
        if getattr(settings, name):
            raise SettingsError(f"{name} is for the transformer, and this model has none")


def _set_kernels(transformer: PatchVSRTransformer3DModel, settings: RestoreSettings) -> None:
    if settings.attention_backend is not None:
        try:
            transformer.set_attention_backend(settings.attention_backend)
        except (ValueError, RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise SettingsError(f"attention backend {settings.attention_backend!r} cannot be used: {reason}") from None
    if settings.compile:
        transformer.compile_repeated_blocks()
