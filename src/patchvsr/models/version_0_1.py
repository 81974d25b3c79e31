"""Read model folders of version 0.1, which name the autoencoder `codec` and store no scheduler.

Those of Wan bases are loaded. The bundled model's autoencoder of that time is gone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from patchvsr.errors import ModelError
from patchvsr.models.registry import PIPELINE_INDEX
from patchvsr.models.wan_base.autoencoder import WanAutoencoder

OLD_FOLDER = "codec"
_GONE, _OF_WAN = "MiniAutoencoder", "WanCodec"


def updated_index(index: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """Rename version 0.1 entries of `model_index.json`; a current index is returned unchanged.

    Raises ModelError for an autoencoder that is gone, or that version 0.1 did not have.
    """
    file = Path(folder) / PIPELINE_INDEX
    if OLD_FOLDER not in index:
        _, name = index.get("vae") or (None, None)
        _refuse_gone(name, file)
        return index
    _check(index[OLD_FOLDER][1], file)
    others = {name: value for name, value in index.items() if name != OLD_FOLDER}
    return others | {"vae": [WanAutoencoder.__module__, WanAutoencoder.__name__]}


def load_old_autoencoder(folder: Path, dtype: torch.dtype | None) -> WanAutoencoder:
    """Load the autoencoder from the `codec` folder of a version 0.1 pipeline, in evaluation mode.

    Raises ModelError as `updated_index` does, and OSError where files are missing.
    """
    part = folder / OLD_FOLDER
    config = part / "config.json"
    try:
        _check(json.loads(config.read_text())["_class_name"], config)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{config} cannot be read ({error!r})") from None
    return WanAutoencoder.from_pretrained(part, dtype=dtype, use_safetensors=True).eval()


def _check(name: str, file: Path) -> None:
    _refuse_gone(name, file)
    if name != _OF_WAN:
        raise ModelError(f"{file} names the autoencoder {name!r}: version 0.1 had {_GONE} and {_OF_WAN}")


def _refuse_gone(name: str | None, file: Path) -> None:
    if name == _GONE:
        raise ModelError(
            f"{file} names the autoencoder {_GONE}, which only versions up to 0.1 have: "
            "use patchvsr 0.1 for this model, or train it again"
        )
