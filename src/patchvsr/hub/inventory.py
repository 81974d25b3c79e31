"""List the models at hand: bundled, known bases, and what is in the Hub's local cache. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CachedRepoInfo, CachedRevisionInfo, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from patchvsr import __version__
from patchvsr.errors import ModelError
from patchvsr.models.folder import missing_files, missing_of_part, read_json
from patchvsr.models.registry import (
    ADAPTER_CONFIG,
    BASE_PARTS,
    MODEL_FILES,
    OWN_AUTOENCODER,
    PIPELINE_INDEX,
    REGISTRY,
    Base,
    BundledModel,
    bundled_models,
    download,
    find_base,
    is_adapter,
    is_model,
)

# As saved folders name the classes of `PatchVSRPipeline` and the transformer of an adapter.
_CLASSES = ("PatchVSRPipeline", "PatchVSRTransformer3DModel")
Cached = Mapping[str, CachedRepoInfo]


@dataclass(frozen=True)
class Entry:
    """A model or a base. name: for --model or --base.

    size_bytes: on this disk; None if nothing is there. revision: commit on the Hub, of a bundled model the version of
    this package. missing: why it cannot be used without network; None if it can.
    """

    name: str
    kind: Literal["bundled", "model", "adapter", "base"]
    size_bytes: int | None
    revision: str | None
    folder: Path | None
    missing: str | None

    @property
    def offline(self) -> bool:
        return self.missing is None


@dataclass(frozen=True)
class Inventory:
    """What is at hand. notices: lines about damaged folders of the cache."""

    entries: tuple[Entry, ...]
    notices: tuple[str, ...]


def take_inventory() -> Inventory:
    """Return the bundled models, the known bases, and the models and adapters of this package in the Hub's cache."""
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:  # nothing was ever downloaded
        return Inventory((*_bundled(), *_bases({})), ())
    cached = {repo.repo_id: repo for repo in sorted(cache.repos, key=lambda r: r.repo_id) if repo.repo_type == "model"}
    notices = tuple(" ".join(str(warning).split()) for warning in cache.warnings)
    return Inventory((*_bundled(), *_bases(cached), *_models(cached)), notices)


def _bundled() -> Iterator[Entry]:
    for name, folder in bundled_models().items():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        yield Entry(name, "bundled", size, __version__, folder, _named(missing_files(folder)))


def _bases(cached: Cached) -> Iterator[Entry]:
    for base in REGISTRY.values():
        if not isinstance(base, BundledModel):
            revision = _newest(cached.get(base.repository or ""))
            yield _entry(base.name, "base", revision, _missing_of_base(base, cached))


def _models(cached: Cached) -> Iterator[Entry]:
    for name, repo in cached.items():
        revision = _newest(repo)
        if revision is not None and _is_ours(revision.snapshot_path):
            adapter = is_adapter(revision.snapshot_path)
            missing = _missing_of_model(name, revision.snapshot_path, cached)
            yield _entry(name, "adapter" if adapter else "model", revision, missing)


def _entry(
    name: str, kind: Literal["model", "adapter", "base"], revision: CachedRevisionInfo | None, missing: str | None
) -> Entry:
    if revision is None:
        return Entry(name, kind, None, None, None, missing)
    return Entry(name, kind, revision.size_on_disk, revision.commit_hash, revision.snapshot_path, missing)


def _newest(repo: CachedRepoInfo | None) -> CachedRevisionInfo | None:
    """Return the revision that a Hub name stands for without network."""
    return next((revision for revision in repo.revisions if "main" in revision.refs), None) if repo else None


def _is_ours(folder: Path) -> bool:
    if not is_model(folder):
        return False
    try:
        config = read_json(folder / (ADAPTER_CONFIG if is_adapter(folder) else PIPELINE_INDEX))
    except ModelError:
        return False  # the cache holds models of every kind
    return config.get("_class_name") in _CLASSES


def _missing_of_model(name: str, folder: Path, cached: Cached) -> str | None:
    try:
        download(name, MODEL_FILES, local_files_only=True)  # as loading it does: it knows the files of the revision
        missing = _named(missing_files(folder))
        if missing is None and is_adapter(folder):
            base = find_base(str(read_json(folder / ADAPTER_CONFIG).get("base")))
            parts = BASE_PARTS[:1] if (folder / OWN_AUTOENCODER).is_dir() else BASE_PARTS
            missing = _missing_of_base(base, cached, parts)
            return missing and f"its base {base.name}: {missing}"
    except ModelError as error:
        return str(error)
    return missing


def _missing_of_base(base: Base, cached: Cached, parts: Sequence[str] = BASE_PARTS) -> str | None:
    if base.repository is None:
        folder = Path(base.name)
    elif revision := _newest(cached.get(base.repository)):
        folder = revision.snapshot_path
    else:
        return "not downloaded"
    try:
        return _named([file for part in parts for file in missing_of_part(folder, part)])
    except ModelError as error:
        return str(error)


def _named(missing: list[str]) -> str | None:
    return f"without {', '.join(missing)}" if missing else None
