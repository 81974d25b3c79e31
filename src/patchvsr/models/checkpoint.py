"""An adapter as a folder of its own: what was trained, without the base, which users have already.

config.json                         the adapter's settings, the base's name, and the pipeline's settings
adapter.safetensors                 the adapter's tensors; sharded, with an index, where they are large
pytorch_lora_weights.safetensors    LoRA of the base's blocks, if any, as diffusers and peft write it
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffusers import WanTransformer3DModel
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE as LORA
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models.registry import ADAPTER_CONFIG
from patchvsr.models.transformer import PatchVSRTransformer3DModel

ADAPTER_SETTINGS = ("condition_channels", "num_branch_blocks", "branch_input", "prompt_length")
MAX_SHARD_SIZE = "5GB"  # as the Hub and diffusers have it


def save_adapter(
    model: PatchVSRTransformer3DModel,
    folder: str | Path,
    *,
    base_name: str | None = None,
    pipeline: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes adapter and LoRA into a new folder, which appears whole or not at all.

    `base_name` tells which base to load, `pipeline` the settings to build `PatchVSRPipeline` with. Raises ModelError
    where the folder exists, unless `overwrite`.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise ModelError(f"{folder} exists: choose another folder, or overwrite it")
    partial, replaced = (folder.with_name(folder.name + suffix) for suffix in (".partial", ".replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    has_lora = bool(getattr(model, "peft_config", None))
    config = {"_class_name": type(model).__name__, "base": base_name, "lora": has_lora}
    config |= {name: model.config[name] for name in ADAPTER_SETTINGS} | {"pipeline": pipeline or {}}
    (partial / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    save_torch_state_dict(
        model.adapter_state_dict(),
        partial,
        filename_pattern="adapter{suffix}.safetensors",
        max_shard_size=MAX_SHARD_SIZE,
    )
    if has_lora:
        model.save_lora_adapter(partial)

    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.replace(replaced)
    partial.replace(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def load_adapter(base: WanTransformer3DModel, folder: str | Path) -> PatchVSRTransformer3DModel:
    """The model that `save_adapter` wrote, around its base, whose weights it shares; in evaluation mode.

    Raises ModelError for a folder that is missing or incomplete, or was made for another base.
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
    if config["lora"]:
        _load_lora(model, folder)
    return model.eval()


def _load_lora(model: PatchVSRTransformer3DModel, folder: Path) -> None:
    try:
        # From the folder, not as tensors: LoRA's scale stands in the file's metadata.
        model.load_lora_adapter(folder, prefix=None, adapter_name="default", weight_name=LORA)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder} holds no usable {LORA}: {reason}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """What `save_adapter` wrote beside the tensors; raises ModelError where that is not complete."""
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
