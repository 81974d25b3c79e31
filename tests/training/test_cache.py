"""A cache of latents: the same training as without, but for rounding, and new noise at every use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

from patchvsr.degradation.degrade import Degradation
from patchvsr.errors import InputError, SettingsError
from patchvsr.training.cache import CachedSamples, write_cache
from patchvsr.training.clips import ClipSource
from patchvsr.training.distillation import DistillStage
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import PatchSample, Samples
from patchvsr.training.stages import AdapterStage, BaseStage
from patchvsr.training.trainer import train

RECIPE = Recipe(
    stage="adapter", name="toy_adapter", batch_size=2, num_frames=5, sizes="64", canvas_min=64, canvas_max=128, steps=3,
    workers=0, lora_rank=0, log_every=1, precision="fp32", degradation=Degradation(clean_share=1.0),
)  # fmt: skip


def adapter() -> AdapterStage:
    transformer = toy.transformer()
    transformer.train_adapter_and_lora(rank=0)
    return AdapterStage(RECIPE, toy.autoencoder(), transformer)


@pytest.fixture(scope="module")
def cache(source: ClipSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "latents"
    stage = adapter()
    assert list(write_cache(RECIPE, stage, Samples(stage.make_sample, source, RECIPE), folder, 6)) == [1, 2, 3, 4, 5, 6]
    return folder


def test_holds_what_the_stage_would_encode(cache: Path, source: ClipSource) -> None:
    stage = adapter()
    samples = Samples(stage.make_sample, source, RECIPE)
    stored = load_file(cache / "sample-000003.safetensors")
    sample = {name: value.unsqueeze(0) for name, value in samples[3, 0].items()}
    for name, value in (stage.encode(sample) | {"box": sample["box"], "mask": sample["mask"]}).items():
        torch.testing.assert_close(stored[name].float(), value[0].to(stored[name].dtype).float())
    assert "hq" not in stored and "noise" not in stored


def test_every_use_has_its_own_noise(cache: Path) -> None:
    cached = CachedSamples(adapter(), cache, RECIPE)
    places = [(step, number) for step in range(20) for number in range(2)]
    drawn = [cached[place] for place in places]
    assert len({sample["noise"].sum().item() for sample in drawn}) == len(places)
    assert len({sample["latents"].sum().item() for sample in drawn}) == 6
    assert torch.equal(cached[3, 1]["noise"], drawn[7]["noise"])


def test_trains_and_resumes_from_it(cache: Path, source: ClipSource, tmp_path: Path) -> None:
    ended = []
    for stop in (None, 2):
        recipe = replace(RECIPE, output=str(tmp_path / str(stop)), checkpoint_every=1)
        for stop_at in (stop, None):
            stage = adapter()
            cached = CachedSamples(stage, cache, recipe)
            assert cached.digest == f"{source.digest}, cache of 6"
            for event in train(recipe, stage, cached, data_digest=cached.digest):
                if event.step == stop_at:
                    break
        ended.append(stage.state_dict())
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])


def test_is_taken_up_again_where_it_was_left(cache: Path, source: ClipSource, tmp_path: Path) -> None:
    stage, folder = adapter(), tmp_path / "latents"
    samples = Samples(stage.make_sample, source, RECIPE)
    writing = write_cache(RECIPE, stage, samples, folder, 6)
    assert [next(writing), next(writing)] == [1, 2]
    with pytest.raises(SettingsError, match="is not complete: run `patchvsr cache` again"):
        CachedSamples(stage, folder, RECIPE)
    (folder / "sample-000002.safetensors.tmp").write_bytes(b"half")
    first = (folder / "sample-000000.safetensors").stat().st_mtime_ns
    assert list(write_cache(RECIPE, stage, samples, folder, 6))[-1] == 6
    assert (folder / "sample-000000.safetensors").stat().st_mtime_ns == first
    for file in cache.glob("*.safetensors"):
        assert file.read_bytes() == (folder / file.name).read_bytes()


def test_does_not_depend_on_the_batch_size(cache: Path, source: ClipSource, tmp_path: Path) -> None:
    """Or taking it up with another one would leave samples out, and hold others twice."""
    recipe, stage = replace(RECIPE, batch_size=5), adapter()
    list(write_cache(recipe, stage, Samples(stage.make_sample, source, recipe), tmp_path, 6))
    assert all(file.read_bytes() == (tmp_path / file.name).read_bytes() for file in cache.glob("*.safetensors"))


def test_neighbours_are_cut_from_one_canvas(source: ClipSource, tmp_path: Path) -> None:
    """A slow canvas is made once for all its patches."""
    recipe, stage = replace(RECIPE, canvas_min=128, patches_per_canvas=2), adapter()
    make = PatchSample(recipe, stage.autoencoder.geometry)
    list(write_cache(recipe, stage, Samples(make, source, recipe), tmp_path, 4))
    one, other, next_one, _ = (load_file(file) for file in sorted(tmp_path.glob("*.safetensors")))
    assert torch.equal(one["global_latents"], other["global_latents"])
    assert not torch.equal(one["global_latents"], next_one["global_latents"])
    assert not torch.equal(one["box"], other["box"])
    with pytest.raises(SettingsError, match="samples of another recipe"):
        CachedSamples(stage, tmp_path, RECIPE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_encodes_on_the_gpu(source: ClipSource, tmp_path: Path) -> None:
    stage = adapter()
    list(write_cache(RECIPE, stage, Samples(stage.make_sample, source, RECIPE), tmp_path, 1))
    assert next(stage.autoencoder.parameters()).is_cuda


def test_base_stages_can_be_cached(source: ClipSource, tmp_path: Path) -> None:
    recipe = replace(RECIPE, stage="base", name="toy_base")
    prompt = torch.nn.Parameter(toy.randn(1, toy.PROMPT_LENGTH, toy.TEXT_DIM))
    stage = BaseStage(recipe, toy.autoencoder(), toy.base(), prompt)
    list(write_cache(recipe, stage, Samples(stage.make_sample, source, recipe), tmp_path, 2))
    sample = CachedSamples(stage, tmp_path, recipe)[0, 0]
    assert sample.keys() == {"latents", "scale", "noise", "sigma"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 9}, "holds samples of another recipe"),
        ({"degradation": Degradation(clean_share=0.5)}, "holds samples of another recipe"),
        ({"sizes": "32,64"}, "a cache holds patches of one size"),
    ],
)
def test_refuses_another_recipe(change: dict[str, Any], message: str, cache: Path, source: ClipSource) -> None:
    recipe = replace(RECIPE, **change)
    stage = adapter()
    with pytest.raises(SettingsError, match=message):
        next(write_cache(recipe, stage, Samples(stage.make_sample, source, recipe), cache, 6))
    if "sizes" not in change:
        with pytest.raises(SettingsError, match=message):
            CachedSamples(stage, cache, recipe)


def test_refuses_stages_that_need_pixels_and_folders_without_a_cache(source: ClipSource, tmp_path: Path) -> None:
    recipe = replace(RECIPE, stage="distill", name="toy_distill")
    stage = DistillStage(recipe, toy.autoencoder(), toy.transformer())
    with pytest.raises(SettingsError, match="stage distill needs pixels: only adapter and base can be cached"):
        next(write_cache(recipe, stage, Samples(stage.make_sample, source, recipe), tmp_path, 2))
    with pytest.raises(InputError, match="holds no cache: write one first"):
        CachedSamples(stage, tmp_path, RECIPE)
