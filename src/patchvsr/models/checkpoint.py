"""Save and load an adapter folder: the trained weights without the base, which users download once.

config.json                         adapter settings, name of the base, and pipeline settings
adapter.safetensors                 adapter tensors; sharded, with an index, if large
pytorch_lora_weights.safetensors    LoRA weights of the base's blocks, if any, in the format of diffusers and peft

`training.export` may add, in diffusers' format, an autoencoder in `vae/`, or a light decoder in `decoder/`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE as LORA
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from patchvsr import files
from patchvsr.errors import ModelError
from patchvsr.models.registry import ADAPTER_CONFIG
from patchvsr.models.transformer import PatchVSRTransformer3DModel

ADAPTER_SETTINGS = ("condition_channels", "num_branch_blocks", "branch_input", "prompt_length")
VALUES_OF_A_TENSOR = 1024
MAX_SHARD_SIZE = "5GB"  # the default of the Hub and diffusers


def save_adapter(
    model: PatchVSRTransformer3DModel,
    folder: str | Path,
    *,
    base_name: str | None = None,
    pipeline: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write adapter and LoRA atomically into a new folder.

    base_name: base to load with this adapter. pipeline: arguments of `PatchVSRPipeline`.

    Raises ModelError if the folder exists, unless `overwrite`.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise ModelError(f"{folder} exists: choose another folder, or overwrite it")
    has_lora = bool(getattr(model, "peft_config", None))
    config = {
        "_class_name": type(model).__name__,
        "base": base_name,
        "base_sha256": base_digest(model),
        "lora": has_lora,
    }
    config |= {name: model.config[name] for name in ADAPTER_SETTINGS} | {"pipeline": pipeline or {}}
    with files.new_folder(folder) as partial:
        (partial / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        save_torch_state_dict(
            model.adapter_state_dict(),
            partial,
            filename_pattern="adapter{suffix}.safetensors",
            max_shard_size=MAX_SHARD_SIZE,
        )
        if has_lora:
            model.save_lora_adapter(partial)


def load_adapter(base: WanTransformer3DModel, folder: str | Path) -> PatchVSRTransformer3DModel:
    """Load an adapter written by `save_adapter` onto its base, sharing the base's weights; in evaluation mode.

    Raises ModelError for a folder that is missing, incomplete, or made for another base. In float16, which rounds
    otherwise, a base of the same shape passes for the right one.
    """
    folder = Path(folder)
    config, tensors = read_config(folder), _read_tensors(folder)
    try:
        model = PatchVSRTransformer3DModel.from_base(base, **{name: config[name] for name in ADAPTER_SETTINGS})
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder} does not fit the base: {error}") from None
    expected = model.adapter_state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        found, needed = (tuple(own[name].shape) if name in own else "none" for own in (tensors, expected))
        if found != needed:
            raise ModelError(f"{folder} does not fit the base: {name} is {found}, needed is {needed}")
    model.load_state_dict(tensors, strict=False)
    trained_on, base_is = config.get("base_sha256"), base_digest(model)
    if trained_on and base_is and trained_on != base_is:
        name = config.get("base") or "another base"
        raise ModelError(f"{folder} was trained on {name} ({trained_on[:12]}...), not on this base ({base_is[:12]}...)")
    if config["lora"]:
        _load_lora(model, folder)
    return model.eval()


def base_digest(model: PatchVSRTransformer3DModel) -> str | None:
    """Return a SHA-256 of the base under an adapter: of the first values of all its tensors, as bfloat16.

    Any training of the base changes it; float32 or bfloat16 make no difference. None for other types, which round
    otherwise.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.base_state_dict().items()):
        if tensor.dtype not in (torch.float32, torch.bfloat16):
            return None
        values = tensor.detach().flatten()[:VALUES_OF_A_TENSOR].to("cpu", torch.bfloat16)
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load_lora(model: PatchVSRTransformer3DModel, folder: Path) -> None:
    try:
        # Load from the folder, not as tensors: the scale of LoRA is stored in the file's metadata.
        model.load_lora_adapter(folder, prefix=None, adapter_name="default", weight_name=LORA)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder} holds no usable {LORA}: {reason}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of an adapter. Raises ModelError if it is missing or incomplete."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        missing = {"lora", *ADAPTER_SETTINGS} - set(config)
    except (OSError, TypeError, ValueError) as error:
        raise ModelError(f"{folder} holds no adapter: {error}") from None
    if missing:
        raise ModelError(f"{folder} holds no adapter: {ADAPTER_CONFIG} lacks {', '.join(sorted(missing))}")
    return config


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        shards = [load_file(file) for file in sorted(folder.glob("adapter*.safetensors"))]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no adapter: {error}") from None
    return {name: tensor for shard in shards for name, tensor in shard.items()}
