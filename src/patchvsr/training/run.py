"""Run a recipe from data to weights, for `patchvsr train` and `patchvsr cache`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from patchvsr.errors import OutputError, SettingsError
from patchvsr.training.build import build_stage
from patchvsr.training.cache import CachedSamples, write_cache
from patchvsr.training.clips import ClipSource
from patchvsr.training.packing import pack
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import Samples
from patchvsr.training.shards import INDEX, Index
from patchvsr.training.stages import Stage
from patchvsr.training.trainer import TrainEvent, ValidationEvent, train

logger = logging.getLogger(__name__)


def run_recipe(recipe: Recipe, *, minutes: float | None = None) -> Iterator[TrainEvent | ValidationEvent]:
    """Train a recipe's stage, resuming from its last checkpoint; see `trainer.train`."""
    stage = build_stage(recipe)
    validator = None
    if recipe.validation:
        from patchvsr.training.validation import Validator  # its packages are an extra

        validator = Validator(recipe, clip_source(Path(recipe.validation), Path(recipe.validation_packed)))
    if recipe.cache:
        cached = CachedSamples(stage, Path(recipe.cache), recipe)
        yield from train(recipe, stage, cached, data_digest=cached.digest, validator=validator, minutes=minutes)
    else:
        samples = samples_of(recipe, stage)
        digest = samples.source.digest
        yield from train(recipe, stage, samples, data_digest=digest, validator=validator, minutes=minutes)


def cache_recipe(recipe: Recipe, count: int) -> Iterator[int]:
    """Encode `count` samples of a recipe into its cache; yield the number done.

    Raises SettingsError if the recipe names no cache.
    """
    if not recipe.cache:
        raise SettingsError(f"{recipe.name} names no cache: add --set cache=FOLDER")
    stage = build_stage(recipe)
    yield from write_cache(recipe, stage, samples_of(recipe, stage), Path(recipe.cache), count)


def samples_of(recipe: Recipe, stage: Stage) -> Samples:
    """Return the samples of a stage, packing the recipe's footage on first use.

    Raises InputError early if the footage is too small for the recipe, instead of from a worker hours later.
    """
    source = clip_source(Path(recipe.data), Path(recipe.packed), photo_share=recipe.photo_share)
    largest = max(recipe.size_choices) if recipe.stage == "autoencoder" else recipe.canvas_max
    source.check_holds(recipe.num_frames, largest, largest)
    return Samples(stage.make_sample, source, recipe)


def clip_source(data: Path, packed: Path, *, photo_share: float = 0.0) -> ClipSource:
    """Open a packed folder, packing `data` first if it is missing or its packing was interrupted.

    With several processes, one packs and the others wait. Raises SettingsError if `data` exists but the folder was
    packed from other data, and OutputError if the folder cannot be written.
    """
    if not _is_packed(packed):
        try:
            packed.mkdir(parents=True, exist_ok=True)
            with FileLock(packed / ".lock"):
                if not _is_packed(packed):
                    pack(data, packed)
        except OSError as error:
            raise OutputError(f"cannot write into {packed} ({error}): choose another folder") from error
    roots = Index.load(packed).roots
    if roots and data.exists() and str(data.resolve()) not in roots:
        raise SettingsError(
            f"{packed} was packed from {', '.join(roots)}, not from {data}: choose another folder, or add to this one "
            f"(patchvsr pack {data} {packed})"
        )
    return ClipSource(packed, photo_share=photo_share)


def _is_packed(packed: Path) -> bool:
    return (packed / INDEX).exists() and Index.load(packed).complete
