"""The stages with all their losses and an adversary, at toy size: each trains its part, they resume, others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_wan
from safetensors.torch import load_file
from toy_training import assert_changed, toy_sizes

from patchvsr.degradation.degrade import Degradation
from patchvsr.errors import SettingsError
from patchvsr.models.mini import sizes as mini
from patchvsr.models.mini.restorer import Restorer
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.build import OF_A_RUN, build_stage
from patchvsr.training.checkpoint import checkpoints, last_checkpoint
from patchvsr.training.clips import ClipSource
from patchvsr.training.export import export
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import Samples
from patchvsr.training.stages import Stage
from patchvsr.training.trainer import TrainEvent, train

STAGES = ("restorer", "autoencoder", "base", "adapter", "distill")
SIDE = 64
ADVERSARY = {"autoencoder": "runs", "distill": "features"}
TRAINED = {
    "restorer": ("restorer.",),
    "autoencoder": ("autoencoder.decoder.", "autoencoder.condition_encoder.", "predict.", "adversary."),
    "base": ("base.", "prompt."),
    "distill": ("transformer.", "autoencoder.decoder.", "adversary."),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def toy_size() -> Iterator[None]:
    with toy_sizes() as patch:
        patch.setattr(mini, "new_restorer", lambda: Restorer(channels=8, num_blocks=4))
        yield


def recipe(stage: str, output: Path, **settings: Any) -> Recipe:
    small = dict(
        steps=2, batch_size=2, num_frames=5, sizes=str(SIDE), canvas_min=SIDE, canvas_max=2 * SIDE, lora_rank=2,
        warmup_steps=0, checkpoint_every=1, log_every=1, workers=0, decode_size=32, decode_frames=5,
        spectral_weight=0.0, energy_weight=0.01, feature_weight=0.1, degradation=Degradation(clean_share=0.5),
        single_pass_share=0.5,
    )  # fmt: skip
    if stage in ("autoencoder", "distill"):
        small |= dict(adversarial_weight=0.1, objective="adversarial", adversary=ADVERSARY[stage])
    return Recipe(stage=stage, name=f"mini_{stage}", output=str(output), **(small | settings)).check()


def run(chosen: Recipe, stage: Stage, source: ClipSource, minutes: float | None = None) -> list[TrainEvent]:
    samples = Samples(stage.make_sample, source, chosen)
    return [e for e in train(chosen, stage, samples, data_digest=source.digest, minutes=minutes)]  # type: ignore[misc]


@pytest.fixture(scope="module")
def runs(source: ClipSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The folder of a whole training, and for each stage its weights before and after, and its events."""
    output = tmp_path_factory.mktemp("adversarial")
    result: dict[str, Any] = {"output": output}
    for name in STAGES:
        stage = build_stage(recipe(name, output))
        before = {key: value.clone() for key, value in stage.state_dict().items()}
        events = run(recipe(name, output), stage, source)
        result[name] = before, stage, events
    return result


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_changes_what_it_trains_and_nothing_else(runs: dict[str, Any], name: str) -> None:
    before, stage, _ = runs[name]
    assert_changed(stage, before, TRAINED[name])


def test_losses_of_the_generative_path(runs: dict[str, Any]) -> None:
    pixels = {"pixel", "energy", "features", "discriminator", "adversarial"}
    assert set(runs["autoencoder"][2][-1].losses) == pixels | {"matching", "unexplained"}
    assert set(runs["distill"][2][-1].losses) == pixels | {"velocity"}


@pytest.mark.parametrize("name", ["autoencoder", "distill"])
def test_resumed_equals_uninterrupted(runs: dict[str, Any], name: str, source: ClipSource, tmp_path: Path) -> None:
    for done in STAGES[: STAGES.index(name)]:
        (tmp_path / f"mini_{done}").symlink_to(runs["output"] / f"mini_{done}")
    chosen = recipe(name, tmp_path)
    run(chosen, build_stage(chosen), source, minutes=0)
    assert [folder.name for folder in checkpoints(chosen.run)] == ["step-000001"]
    stage = build_stage(chosen)
    assert [event.step for event in run(chosen, stage, source)] == [2]
    wanted = runs[name][1].state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in stage.state_dict().items())


def test_single_frames_train_the_restorer_but_not_its_estimate(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("restorer", tmp_path, num_frames=1)
    stage = build_stage(chosen)
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    run(chosen, stage, source, minutes=0)  # resumed below, with parameters that have had no gradient
    resumed = build_stage(chosen)
    assert [set(event.losses) for event in run(chosen, resumed, source)] == [{"pixel"}]
    changed = {key for key, value in resumed.state_dict().items() if not torch.equal(value, before[key])}
    assert "restorer.head.weight" in changed
    assert not any(key.startswith("restorer.estimator") for key in changed)


def test_a_restorer_is_exported_as_a_model_and_gone_on_from(runs: dict[str, Any], tmp_path: Path) -> None:
    """Its estimate and blocks are those of the run, and other stages begin with them in a new folder."""
    with pytest.raises(SettingsError, match="mini_restorer takes no denoising steps: give 0 instead of 4"):
        export(recipe("restorer", runs["output"]), tmp_path / "model", num_inference_steps=4)
    export(recipe("restorer", runs["output"]), tmp_path / "model", num_inference_steps=0)
    pipeline = PatchVSRPipeline.from_pretrained(tmp_path / "model")
    assert pipeline.transformer is None and pipeline.config.num_inference_steps == 0
    found, trained = pipeline.vae.restorer.state_dict(), average_of(runs["output"] / "mini_restorer")
    assert all(torch.equal(found[key], value.bfloat16()) for key, value in trained.items())
    card = (tmp_path / "model" / "README.md").read_text()
    assert "without a transformer" in card and "transformer, its dual-branch" not in card
    for name, parts in (("restorer", ("restorer.",)), ("autoencoder", ("autoencoder.restorer.",))):
        stage = build_stage(recipe(name, tmp_path / "on", init=str(tmp_path / "model"))).state_dict()
        for key, value in found.items():
            assert torch.equal(stage[parts[0] + key], value.float()), key


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_goes_on_from_a_finished_model(runs: dict[str, Any], tmp_path: Path, name: str) -> None:
    export(recipe("distill", runs["output"]), tmp_path / "model")
    pipeline = PatchVSRPipeline.from_pretrained(tmp_path / "model")
    parts = {f"autoencoder.{key}": value for key, value in pipeline.vae.state_dict().items()}
    parts |= {f"restorer.{key}": value for key, value in pipeline.vae.restorer.state_dict().items()}
    parts |= {f"transformer.{key}": value for key, value in pipeline.transformer.state_dict().items()}
    parts |= {f"base.{key}": value for key, value in pipeline.transformer.state_dict().items()}
    stage = build_stage(recipe(name, tmp_path / "on", init=str(tmp_path / "model")))
    found = stage.state_dict()
    shared = [key for key in found if key in parts]
    assert shared and all(torch.equal(found[key], parts[key].float()) for key in shared)
    rest = found.keys() - set(shared)
    assert all(key.startswith((*OF_A_RUN, "prompt.")) or "lora_" in key or "base_layer" in key for key in rest), rest


@pytest.mark.parametrize("name", STAGES)
def test_a_model_without_a_restorer_cannot_be_gone_on_from(tmp_path: Path, name: str) -> None:
    autoencoder = toy_wan.autoencoder()
    PatchVSRPipeline(toy.transformer_of(autoencoder), autoencoder).save_pretrained(tmp_path / "model")
    with pytest.raises(SettingsError, match="has no restorer to go on from: give fast"):
        build_stage(recipe(name, tmp_path / "on", init=str(tmp_path / "model")))


def average_of(run: Path) -> dict[str, torch.Tensor]:
    average = load_file(last_checkpoint(run) / "average.safetensors")
    return {name.removeprefix("restorer."): value for name, value in average.items()}


def test_the_result_upscales_a_clip(runs: dict[str, Any]) -> None:
    pipeline = runs["distill"][1].pipeline()
    lq = toy.video(6, 24, 32)
    faithful, detailed = (
        pipeline(lq, size=(128, 96), num_inference_steps=steps, seed=0, return_dict=False)[0] for steps in (0, 1)
    )
    assert faithful.shape == detailed.shape == (6, 3, 96, 128)
    assert not torch.equal(faithful, detailed)
