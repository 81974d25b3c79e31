"""Read model folders of version 0.1, which name the autoencoder `codec` and store no scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from patchvsr.errors import ModelError
from patchvsr.models.mini.autoencoder import MiniAutoencoder
from patchvsr.models.registry import PIPELINE_INDEX
from patchvsr.models.wan_base.autoencoder import WanAutoencoder

OLD_FOLDER = "codec"
_CLASSES: dict[str, Any] = {"MiniAutoencoder": MiniAutoencoder, "WanCodec": WanAutoencoder}


def updated_index(index: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """Rename version 0.1 entries of `model_index.json`; a current index is returned unchanged.

    Raises ModelError for an autoencoder that version 0.1 did not have.
    """
    if OLD_FOLDER not in index:
        return index
    renamed = _renamed(index[OLD_FOLDER][1], Path(folder) / PIPELINE_INDEX)
    others = {name: value for name, value in index.items() if name != OLD_FOLDER}
    return others | {"vae": [renamed.__module__, renamed.__name__]}


def load_old_autoencoder(folder: Path, dtype: torch.dtype | None) -> Any:
    """Load the autoencoder from the `codec` folder of a version 0.1 pipeline, in evaluation mode.

    Raises ModelError for one that version 0.1 did not have, and OSError where files are missing.
    """
    part = folder / OLD_FOLDER
    config = part / "config.json"
    try:
        renamed = _renamed(json.loads(config.read_text())["_class_name"], config)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{config} cannot be read ({error!r})") from None
    return renamed.from_pretrained(part, dtype=dtype, use_safetensors=True).eval()


def _renamed(name: str, file: Path) -> Any:
    if name not in _CLASSES:
        raise ModelError(f"{file} names the autoencoder {name!r}: version 0.1 had {' and '.join(_CLASSES)}")
    return _CLASSES[name]
