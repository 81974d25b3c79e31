"""Check that a model folder can be published: it is complete, undamaged, described and licensed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCard
from yaml import YAMLError

from patchvsr.errors import ModelError
from patchvsr.models.folder import missing_files, read_json, weight_digests
from patchvsr.models.registry import ADAPTER_CONFIG, find_base, is_adapter, is_model

CARD, PROVENANCE = "README.md", "provenance.json"


def check_publishable(folder: Path) -> None:
    """Raise ModelError that names everything that keeps a model folder from being published. Reads all weights."""
    if not folder.is_dir() or not is_model(folder):
        raise ModelError(f"{folder} is no model folder: give one that `patchvsr export` wrote")
    checks = (_missing, _base_problems, _card_problems, _digest_problems)
    problems = dict.fromkeys(problem for check in checks for problem in check(folder))
    if problems:
        raise ModelError(f"{folder} cannot be published: {'; '.join(problems)}")


def _missing(folder: Path) -> Iterator[str]:
    yield from (f"{file} is missing" for file in missing_files(folder))


def _base_problems(folder: Path) -> Iterator[str]:
    """Yield a problem if others could not load the base of an adapter."""
    if not is_adapter(folder):
        return
    base = read_json(folder / ADAPTER_CONFIG).get("base")
    if not base:
        yield f"{ADAPTER_CONFIG} names no base"
        return
    try:
        on_the_hub = find_base(base).repository is not None
    except ModelError:
        on_the_hub = False
    if not on_the_hub:
        yield f"{ADAPTER_CONFIG} names the base {base}, which others cannot load: it must be a Hub name"


def _card_problems(folder: Path) -> Iterator[str]:
    if not (folder / CARD).is_file():
        yield f"{CARD} is missing, the model card that `patchvsr export` writes"
        return
    try:
        card = ModelCard.load(folder / CARD)
    except (OSError, ValueError, YAMLError) as error:
        yield f"{CARD} cannot be read: {' '.join(str(error).split())}"
        return
    if not card.text.strip():
        yield f"{CARD} describes nothing"
    licence = card.data.get("license")
    if not licence:
        yield f"{CARD} names no licence: add a line such as `license: apache-2.0` between its two lines of ---"
    if licence == "other" and not (card.data.get("license_name") and card.data.get("license_link")):
        yield f"{CARD} names the licence `other`: add license_name and license_link"


def _digest_problems(folder: Path) -> Iterator[str]:
    """Yield the weights that are not those that were exported."""
    if not (folder / PROVENANCE).is_file():
        yield f"{PROVENANCE} is missing, the record of its training that `patchvsr export` writes"
        return
    provenance = read_json(folder / PROVENANCE)
    if not provenance.get("data_sha256"):
        yield f"{PROVENANCE} has no digest of the training data (data_sha256)"
    recorded = provenance.get("weights_sha256")
    if not isinstance(recorded, dict):
        yield f"{PROVENANCE} has no digests of the weights (weights_sha256): export the model again"
        return
    found = weight_digests(folder)
    for file in sorted(found.keys() | recorded.keys()):
        if file not in recorded:
            yield f"{file} is not in {PROVENANCE}: export the model again"
        elif file in found and found[file] != recorded[file]:
            yield f"{file} is damaged or was changed, by its digest in {PROVENANCE}: export the model again"
        elif file not in found:
            yield f"{file} is missing"
