"""Find models and bases by name, folder or Hub repository.

The registry has two kinds of entry. A base is a text-to-video model to train an adapter on. A bundled model is a
finished model in the package, whose base was trained by its own recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # of whichever HTTP library huggingface_hub uses
from huggingface_hub.utils import HFValidationError, validate_repo_id

from patchvsr.errors import ModelError

WEIGHTS = Path(__file__).parent.parent / "weights"
PIPELINE_INDEX, ADAPTER_CONFIG = "model_index.json", "config.json"
BASE_PARTS = ("transformer", "vae")  # the components of a base that a model with an adapter uses
OWN_AUTOENCODER, LIGHT_DECODER = "vae", "decoder"  # what an adapter may have of its own, as subfolders
MODEL_FILES = ("*.json", "*.safetensors", "*.md")  # the patterns also match in subfolders


@dataclass(frozen=True)
class Base:
    """Properties of a base for training and pipeline; the defaults fit all Wan models.

    repository: Hub name, in diffusers' format; None for a folder.
    license: SPDX identifier, None if unknown.
    patch_px, patch_frames: size of a patch, the only one that the base is used at.
    num_branch_blocks: number of patch branch blocks in a new adapter.
    flow_shift: shift of the scheduler, see `sampling.schedule`; None reads it from the base's own scheduler.
    """

    name: str
    repository: str | None = None
    license: str | None = None
    patch_px: int = 512
    patch_frames: int = 17
    num_branch_blocks: int = 4
    flow_shift: float | None = None


@dataclass(frozen=True)
class BundledModel(Base):
    """A finished model in the package. Its base is not distributed separately: the recipe `NAME_base` trains it."""

    folder: Path = field(kw_only=True)


REGISTRY: dict[str, Base] = {
    entry.name: entry
    for entry in (
        BundledModel(
            "mini", patch_px=256, patch_frames=9, num_branch_blocks=2, flow_shift=1.0, folder=WEIGHTS / "mini"
        ),
        Base("wan2.1-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "apache-2.0", flow_shift=3.0),
        Base("wan2.1-14b", "Wan-AI/Wan2.1-T2V-14B-Diffusers", "apache-2.0", flow_shift=3.0),
        Base("wan2.2-5b", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "apache-2.0", flow_shift=5.0),
    )
}


def bundled_models() -> dict[str, Path]:
    """Return the folders of the models in the package, by name."""
    diffusion = {entry.name: entry.folder for entry in REGISTRY.values() if isinstance(entry, BundledModel)}
    return diffusion | {"fast": WEIGHTS / "fast"}  # feed-forward, so it is no base


def find_base(name_or_folder: str) -> Base:
    """Return a base by its short name, Hub name or folder. Raises ModelError for anything else."""
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
    """Return the folder of a bundled model; an existing folder or a Hub repository name is returned unchanged.

    Raises ModelError for a name that is none of these, or a folder that contains no model.
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
    """Return whether a folder holds a pipeline or an adapter, judged by file names only."""
    return (folder / PIPELINE_INDEX).is_file() or is_adapter(folder)


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter, which needs a base. A whole pipeline has an index instead."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / PIPELINE_INDEX).is_file()


def check_hub_name(name: str, message: str) -> None:
    """Raise ModelError with `message` if `name` cannot be a repository owner/model, such as a mistyped path."""
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(message)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ModelError(f"{message} ({error})") from None


def download(repository: str, files: Sequence[str], **hub_options: Any) -> Path:
    """Download the newest files of a Hub repository that match `files`, and return its folder in the local cache.

    Without network, or with HF_HUB_OFFLINE=1, cached files are used. Raises ModelError if they are not enough.
    """
    try:
        return Path(snapshot_download(repository, allow_patterns=list(files), **hub_options))
    except (OSError, HTTPError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"cannot load model {repository!r} from the Hub or its cache: {reason}") from error
