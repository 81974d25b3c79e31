"""What a model folder consists of: what is missing from it, and digests of its weights. Nothing is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchvsr.errors import ModelError
from patchvsr.models.registry import ADAPTER_CONFIG, LIGHT_DECODER, OWN_AUTOENCODER, PIPELINE_INDEX, is_adapter

LORA = "pytorch_lora_weights.safetensors"  # as diffusers and peft name it
_CONFIGS = ("config.json", "scheduler_config.json")  # of a module; of a scheduler, which has no weights


def missing_files(folder: Path) -> list[str]:
    """Return what a pipeline or an adapter lacks, as paths in its folder. Judged by names, not by contents.

    Raises ModelError for a configuration that cannot be read.
    """
    if is_adapter(folder):
        missing = list(_missing_weights(folder, "adapter"))
        if read_json(folder / ADAPTER_CONFIG).get("lora") and not (folder / LORA).is_file():
            missing.append(LORA)
        own = [part for part in (OWN_AUTOENCODER, LIGHT_DECODER) if (folder / part).is_dir()]
        return missing + [file for part in own for file in missing_of_part(folder, part)]
    parts = [name for name, part in read_json(folder / PIPELINE_INDEX).items() if isinstance(part, list) and part[0]]
    return [file for part in parts for file in missing_of_part(folder, part)]


def missing_of_part(folder: Path, part: str) -> list[str]:
    """Return what a component, a subfolder in diffusers' format, lacks. Raises ModelError as `missing_files` does."""
    module, scheduler = (folder / part / name for name in _CONFIGS)
    if scheduler.is_file():
        return []
    if not module.is_file():
        return [f"{part}/{module.name}"]
    return [f"{part}/{name}" for name in _missing_weights(folder / part, "")]


def _missing_weights(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the files of weights that are missing: those that an index names, or any at all."""
    indices = sorted(folder.glob(f"{prefix}*.safetensors.index.json"))
    for index in indices:
        shards = sorted(set(read_json(index).get("weight_map", {}).values()))
        yield from (shard for shard in shards if not (folder / shard).is_file())
    if not indices and not any(folder.glob(f"{prefix}*.safetensors")):
        yield f"{prefix}*.safetensors"


def weight_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of weights by its path in the folder. Reads all of them."""
    digests = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with file.open("rb") as stream:
            digests[file.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises ModelError if there is none."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from None
    if not isinstance(stored, dict):
        raise ModelError(f"{file} cannot be read: it holds no JSON object")
    return stored
