"""Load a Wan base, the pre-trained text-to-video model that an adapter is trained on.

Any Wan text-to-video model in diffusers' format works, given by name, Hub repository or folder. Only its `transformer`
and `vae` are loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SCHEDULER_CONFIG_NAME
from safetensors import SafetensorError
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models.registry import BASE_PARTS, BundledModel, download, find_base
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.wan_base.autoencoder import WanAutoencoder


def load_base(
    name_or_folder: str, *, dtype: torch.dtype, autoencoder_folder: Path | None = None
) -> tuple[WanTransformer3DModel, WanAutoencoder]:
    """Load a base's transformer and autoencoder in evaluation mode.

    autoencoder_folder: load the autoencoder from this folder instead of the base's `vae`.

    Raises ModelError if the base is unknown, incomplete, or neither cached nor available for download.
    """
    parts = ("transformer",) if autoencoder_folder else BASE_PARTS
    folder = base_folder(name_or_folder, parts)
    transformer = load_part(WanTransformer3DModel, folder / "transformer", dtype=dtype, use_safetensors=True)
    autoencoder = load_part(WanAutoencoder, autoencoder_folder or folder / "vae", dtype=dtype, use_safetensors=True)
    if transformer.config.in_channels != autoencoder.geometry.latent_channels:
        raise ModelError(
            f"{folder}: the transformer takes latents of {transformer.config.in_channels} channels, "
            f"the autoencoder gives {autoencoder.geometry.latent_channels}: a text-to-video base is needed"
        )
    return transformer, autoencoder


def load_base_autoencoder(name_or_folder: str, *, dtype: torch.dtype) -> WanAutoencoder:
    """Load the autoencoder of a base alone. Raises ModelError as `load_base` does."""
    folder = base_folder(name_or_folder, ("vae",)) / "vae"
    return load_part(WanAutoencoder, folder, dtype=dtype, use_safetensors=True)


def new_scheduler(name_or_folder: str) -> FlowMatchEulerDiscreteScheduler:
    """Return a rectified flow scheduler with the shift that the base was trained for; 1 if nothing tells it.

    Wan's own schedulers are others (UniPC), but name the same shift in their configuration. Raises ModelError as
    `load_base` does, and for a configuration that cannot be read.
    """
    shift = find_base(name_or_folder).flow_shift
    if shift is None:
        file = base_folder(name_or_folder, ("scheduler",)) / "scheduler" / SCHEDULER_CONFIG_NAME
        try:
            config = json.loads(file.read_text()) if file.exists() else {}
            shift = float(config.get("flow_shift") or config.get("shift") or 1.0)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{file} cannot be read: {error}") from None
    return FlowMatchEulerDiscreteScheduler(shift=shift)


def new_transformer(
    name_or_folder: str, prompt_embeds: Tensor, *, dtype: torch.dtype, num_branch_blocks: int | None = None
) -> tuple[PatchVSRTransformer3DModel, WanAutoencoder]:
    """Load a base with a new adapter, zero-initialised so that the output is unchanged, and its autoencoder.

    `prompt_embeds` (1, prompt_length, text_dim) comes from `fixed_prompt`. The branch has as many blocks as suit the
    base, unless told. Raises ModelError as `load_base` does, and
    for a base that is not a text-to-video model.
    """
    base, autoencoder = load_base(name_or_folder, dtype=dtype)
    if num_branch_blocks is None:
        num_branch_blocks = find_base(name_or_folder).num_branch_blocks
    try:
        transformer = PatchVSRTransformer3DModel.from_base(
            base,
            prompt_embeds=prompt_embeds,
            condition_channels=autoencoder.geometry.condition_channels,
            num_branch_blocks=num_branch_blocks,
        )
    except ValueError as error:
        raise ModelError(f"{name_or_folder}: {error}") from None
    return transformer, autoencoder


def base_folder(name_or_folder: str, parts: tuple[str, ...]) -> Path:
    """Return the folder of the base's components, downloading them if necessary."""
    base = find_base(name_or_folder)
    if isinstance(base, BundledModel):
        raise ModelError(f"the base of {base.name} is trained (patchvsr train {base.name}_base), not loaded")
    if base.repository is None:
        return Path(name_or_folder)
    return download(base.repository, [f"{part}/*" for part in parts])


def load_part(part: Any, folder: Path, **options: Any) -> Any:
    """Load one component with its `from_pretrained`, modules in evaluation mode. Raises ModelError on failure."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is missing: a base needs its {folder.name} in diffusers' format")
    try:
        model = part.from_pretrained(str(folder), **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"cannot load {folder}: {reason}") from error
    return model.eval() if isinstance(model, torch.nn.Module) else model
