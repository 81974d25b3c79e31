"""Where models come from: bundled in the package by name, a folder, or the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub.utils import HFValidationError, validate_repo_id

from patchvsr.errors import ModelError

BUNDLED = {"mini": Path(__file__).parent.parent / "weights" / "mini"}


def resolve_model(name_or_path: str | Path) -> str:
    """A bundled name -> its folder; an existing folder -> itself; else a Hub repository name, unchanged.

    Raises ModelError for a name that is none of these, or a folder without a model in it.
    """
    name = str(name_or_path)
    path = BUNDLED.get(name, Path(name))
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise ModelError(f"{path} holds no model_index.json: give a folder that `patchvsr export` wrote")
        return str(path)
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        known = ", ".join(BUNDLED)
        raise ModelError(f"unknown model {name!r}: give one of {known}, a model folder, or a Hub name (owner/model)")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ModelError(f"unknown model {name!r}: {error}") from None
    return name
