"""Cache encoded samples on disk, for bases whose autoencoder costs as much as the training step.

A cache holds the content of samples; noise is drawn at every use. There is one file per sample, so writing can be
interrupted and resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

from patchvsr import files
from patchvsr.errors import InputError, SettingsError
from patchvsr.training.distillation import DistillStage
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import Sample, Samples, generator_of
from patchvsr.training.stages import AdapterStage, BaseStage, Stage

INDEX = "cache.json"
# Recipe fields that encoded samples depend on; all others may change between uses of a cache.
SHAPING = (
    "stage", "base", "seed", "num_frames", "sizes", "canvas_min", "canvas_max", "patches_per_canvas", "photo_share",
    "degradation", "single_pass_share",
)  # fmt: skip


def write_cache(recipe: Recipe, stage: Stage, samples: Samples, folder: Path, count: int) -> Iterator[int]:
    """Encode `count` samples one at a time, on a GPU if available; yield the number done.

    Raises SettingsError for a stage that needs pixels, for several patch sizes, or for a folder that holds samples of
    another recipe.
    """
    if not isinstance(stage, (AdapterStage, BaseStage)) or isinstance(stage, DistillStage):
        raise SettingsError(f"stage {recipe.stage} needs pixels: only adapter and base can be cached")
    if len(recipe.size_choices) > 1:
        raise SettingsError(f"sizes={recipe.sizes}: a cache holds patches of one size, choose one")
    folder.mkdir(parents=True, exist_ok=True)
    shaping = _shaping(recipe) | {"data": samples.source.digest, "encoder": _digest(stage)}
    if (folder / INDEX).exists() and _read(folder)["recipe"] != shaping:
        raise SettingsError(f"{folder} holds samples of another recipe: choose another folder")
    (folder / INDEX).write_text(json.dumps({"recipe": shaping, "count": 0}))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stage.autoencoder.to(device)  # type: ignore[attr-defined]
    for number in range(count):
        file = _file(folder, number)
        if not file.exists():
            sample = samples[divmod(number, recipe.patches_per_canvas)]
            encoded = stage.encode({name: value.unsqueeze(0).to(device) for name, value in sample.items()})
            kept: Sample = {name: sample[name] for name in ("mask", "box", "scale") if name in sample}
            kept |= {name: value[0].to(torch.bfloat16).cpu().contiguous() for name, value in encoded.items()}
            with files.new_file(file) as temporary:
                save_file(kept, temporary)
        yield number + 1
    (folder / INDEX).write_text(json.dumps({"recipe": shaping, "count": count}))


class CachedSamples(Dataset[Sample]):
    """Draw cached samples at random, each time with new noise.

    Raises SettingsError if the cache is incomplete or of another recipe, and InputError if there is none.
    """

    def __init__(self, stage: Stage, folder: Path, recipe: Recipe):
        index = _read(folder)
        if index["recipe"] != _shaping(recipe) | {"data": index["recipe"]["data"], "encoder": _digest(stage)}:
            raise SettingsError(f"{folder} holds samples of another recipe: cache them again into another folder")
        if not index["count"]:
            raise SettingsError(f"{folder} is not complete: run `patchvsr cache` again to finish it")
        self.make, self.folder, self.recipe, self.count = stage.make_sample, folder, recipe, index["count"]
        self.digest = f"{index['recipe']['data']}, cache of {self.count}"

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        step, number = place
        generator = generator_of(self.recipe.seed, step, 1 + number)
        chosen = int(torch.randint(self.count, (), generator=generator))
        content = {name: value.float() for name, value in load_file(_file(self.folder, chosen)).items()}
        _, frames, height, width = content["latents"].shape
        return content | self.make.noise(generator, (frames, height, width))


def _file(folder: Path, number: int) -> Path:
    return folder / f"sample-{number:06d}.safetensors"


def _shaping(recipe: Recipe) -> dict[str, object]:
    values = json.loads(json.dumps(asdict(recipe)))  # as it reads back from a file
    return {name: values[name] for name in SHAPING}


def _digest(stage: Stage) -> str:
    """Return the digest of the frozen autoencoder's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(stage.autoencoder.state_dict().items()):  # type: ignore[union-attr]
        digest.update(name.encode() + value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / INDEX).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no cache: write one first with `patchvsr cache` ({error})") from None
