"""Stages on Wan bases, at toy size: trained, resumed, exported, and used to upscale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy
import toy_wan
from safetensors.torch import load_file

from patchvsr.degradation.degrade import Degradation
from patchvsr.errors import SettingsError
from patchvsr.models.registry import REGISTRY, Base
from patchvsr.models.wan_base import prompt
from patchvsr.models.wan_base.base import load_base
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.build import build_stage
from patchvsr.training.checkpoint import trained_parameters
from patchvsr.training.clips import ClipSource
from patchvsr.training.export import export
from patchvsr.training.recipes import PLACES, Recipe
from patchvsr.training.run import cache_recipe, run_recipe
from patchvsr.training.stages import AdapterStage


def recipe(base: Path, source: ClipSource, output: Path, stage: str = "adapter", **settings: object) -> Recipe:
    return Recipe(
        stage=stage, name=f"toy_{stage}", base=str(base), packed=str(source.packed), output=str(output), steps=3,
        batch_size=1, num_frames=5, sizes="64", canvas_min=64, canvas_max=96, lora_rank=2, warmup_steps=0, workers=0,
        log_every=1, checkpoint_every=1, decode_size=64, decode_frames=5, gradient_checkpointing=True,
        learning_rate=1e-2, degradation=Degradation(clean_share=1.0), **settings,
    ).check()  # fmt: skip


@pytest.fixture(scope="module", params=toy_wan.FLAVOURS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return toy_wan.save_text_encoder(toy_wan.save_base(folder, request.param))


@pytest.fixture(autouse=True)
def short_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "PROMPT_LENGTH", 6)


def test_from_footage_to_an_upscaled_clip(base: Path, source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(base, source, tmp_path)
    before, _ = load_base(str(base), dtype=torch.bfloat16)
    for event in run_recipe(chosen):
        if event.step == 2:  # before its checkpoint: the next run goes on from step 1
            break
    assert [event.step for event in run_recipe(chosen)] == [2, 3]

    stage = build_stage(chosen)
    assert isinstance(stage, AdapterStage)
    assert {parameter.dtype for parameter in trained_parameters(stage).values()} == {torch.float32}
    for name, value in before.state_dict().items():
        own = dict(stage.transformer.state_dict())
        lora = name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
        assert torch.equal(own[name if name in own else lora], value), name  # the base stays as it is

    export(chosen, tmp_path / "model", num_inference_steps=1)
    provenance = json.loads((tmp_path / "model" / "provenance.json").read_text())
    (trained,) = provenance["stages"].values()
    assert trained["recipe"]["learning_rate"] == chosen.learning_rate
    assert not set(PLACES) & trained["recipe"].keys()  # a published model does not tell of folders
    with pytest.raises(SettingsError, match="has no restorer to go on from"):
        build_stage(replace(chosen, base="mini", init=str(tmp_path / "model")))
    pipeline = PatchVSRPipeline.from_pretrained(str(tmp_path / "model"), dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    clip = toy.video(5, 16, 24)
    restored = pipeline(clip, scale=4).frames
    assert restored.shape == (5, 3, 64, 96) and restored.isfinite().all()
    untrained = stage.restore(clip, clip.repeat_interleave(4, -1).repeat_interleave(4, -2))
    assert not torch.equal(untrained["steps 1"], restored)  # three steps have done something


def assert_loaded_as_stored(folder: Path) -> None:
    stored = load_file(folder / "adapter.safetensors")
    loaded = PatchVSRPipeline.from_pretrained(str(folder), dtype=torch.bfloat16).transformer.state_dict()
    for name, value in stored.items():
        assert loaded[name].dtype == value.dtype and torch.equal(loaded[name], value), name


def test_validation_denoises_with_the_shift_of_the_base_as_users_will(
    base: Path, source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "toy", Base(str(base), flow_shift=3.0))
    stage = build_stage(recipe(base, source, tmp_path))
    assert isinstance(stage, AdapterStage)
    assert stage.pipeline().scheduler.config.shift == 3


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("stage", ["base", "distill"])
def test_the_other_stages_train(stage: str, precision: str, base: Path, source: ClipSource, tmp_path: Path) -> None:
    if stage == "distill":
        list(run_recipe(recipe(base, source, tmp_path, precision=precision)))
    chosen = recipe(base, source, tmp_path, stage, precision=precision)
    assert [event.step for event in run_recipe(chosen)] == [1, 2, 3]
    built = build_stage(chosen)
    assert {parameter.dtype for parameter in trained_parameters(built).values()} == {torch.float32}
    if stage == "distill":
        assert built.restore(toy.video(5, 16, 24), toy.video(5, 64, 96))["steps 1"].isfinite().all()
        export(chosen, tmp_path / "model")
        assert_loaded_as_stored(tmp_path / "model")


def test_a_base_trained_further_is_exported_whole(base: Path, source: ClipSource, tmp_path: Path) -> None:
    for stage in ("base", "adapter"):
        list(run_recipe(recipe(base, source, tmp_path, stage)))
    trained = build_stage(recipe(base, source, tmp_path))
    untrained, _ = load_base(str(base), dtype=torch.bfloat16)
    assert isinstance(trained, AdapterStage)
    assert not torch.equal(trained.transformer.proj_out.weight, untrained.proj_out.weight)
    export(recipe(base, source, tmp_path), tmp_path / "model", num_inference_steps=1)
    assert "trained further" in (tmp_path / "model" / "README.md").read_text()
    loaded = PatchVSRPipeline.from_pretrained(str(tmp_path / "model"), dtype=torch.bfloat16)
    assert torch.equal(loaded.transformer.proj_out.weight, trained.transformer.proj_out.weight.bfloat16())


def test_latents_and_prompt_are_made_once(
    base: Path, source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(base, source, tmp_path, cache=str(tmp_path / "cache"))
    assert list(cache_recipe(chosen, 4)) == [1, 2, 3, 4]
    monkeypatch.setattr(prompt, "encode_prompt", None)
    monkeypatch.setattr(toy_wan.WanAutoencoder, "encode", None)
    assert [event.step for event in run_recipe(chosen)] == [1, 2, 3]
