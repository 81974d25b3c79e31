"""Where models come from: bundled in the package by name, a folder, or the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it uses
from huggingface_hub.utils import HFValidationError, validate_repo_id

from patchvsr.errors import ModelError

BUNDLED = {"mini": Path(__file__).parent.parent / "weights" / "mini"}
PIPELINE_INDEX, ADAPTER_CONFIG = "model_index.json", "config.json"
MODEL_FILES = ("*.json", "*.safetensors", "*.md")  # patterns match below folders too


def resolve_model(name_or_path: str | Path) -> str:
    """A bundled name -> its folder; an existing folder -> itself; else a Hub repository name, unchanged.

    Raises ModelError for a name that is none of these, or a folder without a model in it.
    """
    name = str(name_or_path)
    path = BUNDLED.get(name, Path(name))
    if path.is_dir():
        if not is_model(path):
            raise ModelError(
                f"{path} holds no {PIPELINE_INDEX} and no adapter's {ADAPTER_CONFIG}: "
                "give a folder that `patchvsr export` wrote"
            )
        return str(path)
    known = ", ".join(BUNDLED)
    check_hub_name(name, f"unknown model {name!r}: give one of {known}, a model folder, or a Hub name (owner/model)")
    return name


def is_model(folder: Path) -> bool:
    """A whole pipeline or an adapter, judged by its files' names alone."""
    return (folder / PIPELINE_INDEX).is_file() or is_adapter(folder)


def is_adapter(folder: Path) -> bool:
    """An adapter's folder, which needs its base beside it; a whole pipeline has an index instead."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / PIPELINE_INDEX).is_file()


def check_hub_name(name: str, message: str) -> None:
    """Raises ModelError with that message for what cannot be a repository owner/model, above all a mistyped path."""
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(message)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ModelError(f"{message} ({error})") from None


def download(repository: str, files: Sequence[str], **hub_options: Any) -> Path:
    """The folder of a Hub repository in the local cache, where its newest files of these patterns are put first.

    Without network, or with HF_HUB_OFFLINE=1, what is cached is used. Raises ModelError where that is not enough.
    """
    try:
        return Path(snapshot_download(repository, allow_patterns=list(files), **hub_options))
    except (OSError, HTTPError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"cannot load model {repository!r} from the Hub or its cache: {reason}") from error
