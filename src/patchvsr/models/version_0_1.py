"""Read model folders of version 0.1, which name the autoencoder `codec` and store no scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from patchvsr.models.mini.autoencoder import MiniAutoencoder
from patchvsr.models.wan_base.autoencoder import WanAutoencoder

OLD_FOLDER = "codec"
_CLASSES: dict[str, Any] = {"MiniAutoencoder": MiniAutoencoder, "WanCodec": WanAutoencoder}


def updated_index(index: dict[str, Any]) -> dict[str, Any]:
    """Rename version 0.1 entries of `model_index.json`; a current index is returned unchanged."""
    if OLD_FOLDER not in index:
        return index
    renamed = _CLASSES[index[OLD_FOLDER][1]]
    others = {name: value for name, value in index.items() if name != OLD_FOLDER}
    return others | {"vae": [renamed.__module__, renamed.__name__]}


def load_old_autoencoder(folder: Path, dtype: torch.dtype | None) -> Any:
    """Load the autoencoder from the `codec` folder of a version 0.1 pipeline, in evaluation mode."""
    part = folder / OLD_FOLDER
    renamed = _CLASSES[json.loads((part / "config.json").read_text())["_class_name"]]
    return renamed.from_pretrained(part, dtype=dtype, use_safetensors=True).eval()
