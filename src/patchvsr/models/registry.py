"""Models and bases by name, folder or Hub.

One table holds both kinds of entry: a base is a text-to-video model to train an adapter on; a bundled model is a
finished one in the package, on a base that its own recipes trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # of whichever HTTP library it uses
from huggingface_hub.utils import HFValidationError, validate_repo_id

from patchvsr.errors import ModelError

WEIGHTS = Path(__file__).parent.parent / "weights"
PIPELINE_INDEX, ADAPTER_CONFIG = "model_index.json", "config.json"
MODEL_FILES = ("*.json", "*.safetensors", "*.md")  # patterns match below folders too


@dataclass(frozen=True)
class Base:
    """What training and pipeline need to know about a base; the defaults fit every Wan.

    repository: Hub name in diffusers' format; None for a folder.
    license: SPDX name where it is known.
    patch_px, patch_frames: size of a patch, the one that the base is used at.
    num_branch_blocks: blocks of the patch branch of a new adapter.
    flow_shift: of the scheduler, see `sampling.schedule`.
    """

    name: str
    repository: str | None = None
    license: str | None = None
    patch_px: int = 512
    patch_frames: int = 17
    num_branch_blocks: int = 4
    flow_shift: float = 1.0


@dataclass(frozen=True)
class BundledModel(Base):
    """A finished model in the package. Its base is not to be had by itself: the recipe `NAME_base` trains it."""

    folder: Path = field(kw_only=True)


REGISTRY: dict[str, Base] = {
    entry.name: entry
    for entry in (
        BundledModel("mini", num_branch_blocks=2, folder=WEIGHTS / "mini"),
        Base("wan2.1-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "apache-2.0", flow_shift=3.0),
        Base("wan2.1-14b", "Wan-AI/Wan2.1-T2V-14B-Diffusers", "apache-2.0", flow_shift=3.0),
        Base("wan2.2-5b", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "apache-2.0", flow_shift=5.0),
    )
}


def bundled_models() -> dict[str, Path]:
    """Names and folders of the models in the package."""
    return {entry.name: entry.folder for entry in REGISTRY.values() if isinstance(entry, BundledModel)}


def find_base(name_or_folder: str) -> Base:
    """Find a base by its short name, Hub name or folder; raises ModelError for what can be none of these."""
    for base in REGISTRY.values():
        if name_or_folder in (base.name, base.repository):
            return base
    if Path(name_or_folder).is_dir():
        return Base(name_or_folder)
    known = ", ".join(REGISTRY)
    check_hub_name(
        name_or_folder,
        f"unknown base {name_or_folder!r}: give one of {known}, a folder in diffusers' format, or a Hub name",
    )
    return Base(name_or_folder, repository=name_or_folder)


def resolve_model(name_or_path: str | Path) -> str:
    """A bundled name -> its folder; an existing folder -> itself; else a Hub repository name, unchanged.

    Raises ModelError for a name that is none of these, or a folder without a model in it.
    """
    name = str(name_or_path)
    bundled = bundled_models()
    path = bundled.get(name, Path(name))
    if path.is_dir():
        if not is_model(path):
            raise ModelError(
                f"{path} holds no {PIPELINE_INDEX} and no adapter's {ADAPTER_CONFIG}: "
                "give a folder that `patchvsr export` wrote"
            )
        return str(path)
    known = ", ".join(bundled)
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
