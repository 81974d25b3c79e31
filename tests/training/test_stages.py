"""All five stages at toy size, one after the other as in a real run, and what the trainer promises."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor
from toy_training import toy_sizes

from patchvsr.compute import default_dtype
from patchvsr.degradation.degrade import Degradation
from patchvsr.errors import InputError, OutputError, SettingsError
from patchvsr.models.mini import sizes as mini
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.build import build_stage, trained_modules
from patchvsr.training.checkpoint import checkpoints, last_checkpoint
from patchvsr.training.clips import ClipSource
from patchvsr.training.export import export
from patchvsr.training.recipes import Recipe, load_recipe
from patchvsr.training.samples import Samples, batches
from patchvsr.training.stages import Stage
from patchvsr.training.trainer import TrainEvent, train

STAGES = ("restorer", "autoencoder", "base", "adapter", "distill")
OF_AUTOENCODER = ("autoencoder.decoder.", "autoencoder.condition_encoder.")


@pytest.fixture(autouse=True, scope="module")
def toy_size() -> Any:
    """`build_stage` with the real classes at toy size."""
    with toy_sizes():
        yield


def recipe(stage: str, output: Path, **settings: Any) -> Recipe:
    toy_settings = dict(
        steps=4, batch_size=2, num_frames=5, sizes=str(toy.PATCH_PX), canvas_min=toy.PATCH_PX,
        canvas_max=2 * toy.PATCH_PX, lora_rank=2, warmup_steps=0, weight_decay=0.0, checkpoint_every=1, log_every=1,
        workers=0, decode_size=64, decode_frames=5, degradation=Degradation(clean_share=1.0),
    )  # fmt: skip
    return Recipe(stage=stage, name=f"mini_{stage}", output=str(output), **(toy_settings | settings)).check()


def run(chosen: Recipe, stage: Stage, source: ClipSource, *, minutes: float | None = None) -> Iterator[TrainEvent]:
    samples = Samples(stage.make_sample, source, chosen)
    for event in train(chosen, stage, samples, data_digest=source.digest, minutes=minutes):
        assert isinstance(event, TrainEvent)
        yield event


def weights(stage: Stage) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in stage.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def saved(run_folder: Path, file: str) -> dict[str, Tensor]:
    return load_file(last_checkpoint(run_folder) / f"{file}.safetensors")


def after(runs: dict[str, Any], output: Path, *stages: str) -> Path:
    """Return a folder in which these stages have been trained."""
    output.mkdir(exist_ok=True)
    for stage in stages:
        (output / f"mini_{stage}").symlink_to(runs["output"] / f"mini_{stage}")
    return output


@pytest.fixture(scope="module")
def runs(source: ClipSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The folder of a whole training, and per stage its weights before and after, and its events."""
    output = tmp_path_factory.mktemp("runs")
    result: dict[str, Any] = {"output": output}
    for name in STAGES:
        chosen = recipe(name, output)
        stage = build_stage(chosen)
        before = weights(stage)
        events = list(run(chosen, stage, source))
        result[name] = (before, weights(stage), events)
    return result


# --- what a stage trains ------------------------------------------------------------------------------------


def trained(stage: str, names: Iterable[str]) -> set[str]:
    """Those of a stage's weights that it is there to train."""
    if stage == "restorer":
        return {name for name in names if name.startswith("restorer.")}
    if stage == "autoencoder":
        return {name for name in names if name.startswith((*OF_AUTOENCODER, "predict."))}
    if stage == "base":
        return {name for name in names if name.startswith(("base.", "prompt."))}
    if stage == "adapter":
        of_adapter = toy.transformer_of(toy.autoencoder()).adapter_state_dict()
        adapter = {f"transformer.{name}" for name in of_adapter}
        return {name for name in names if ".lora_" in name or name in adapter} - {"transformer.prompt_embeds"}
    return {name for name in names if name.startswith(("autoencoder.decoder.", "transformer."))} - {
        "transformer.prompt_embeds"
    }


@pytest.mark.parametrize("stage", STAGES)
def test_changes_exactly_what_it_trains(runs: dict[str, Any], stage: str) -> None:
    before, after, events = runs[stage]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == trained(stage, before)
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for event in events for value in (*event.losses.values(), event.gradient_norm))


@pytest.mark.parametrize("stage", STAGES)
def test_ends_with_the_averaged_weights(runs: dict[str, Any], stage: str) -> None:
    average, last = (saved(runs["output"] / f"mini_{stage}", kind) for kind in ("average", "weights"))
    _, after, _ = runs[stage]
    assert average.keys() == last.keys() == trained(stage, after)
    assert all(torch.equal(average[name], after[name]) for name in average)
    assert not same(average, last)


@pytest.mark.parametrize(("stage", "before_it"), [("base", "autoencoder"), ("adapter", "base"), ("distill", "adapter")])
def test_stands_on_the_stage_before(runs: dict[str, Any], stage: str, before_it: str) -> None:
    started, _, _ = runs[stage]
    _, ended, _ = runs[before_it]
    encoder = [name for name in started if name.startswith("autoencoder.condition_encoder.")]
    assert encoder and all(torch.equal(started[name], runs["autoencoder"][1][name]) for name in encoder)
    if stage == "adapter":
        for name, value in ended.items():
            if name.startswith("base."):
                own = name.replace("base.", "transformer.", 1)
                lora = own.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
                assert torch.equal(started[own if own in started else lora], value)
        assert torch.equal(started["transformer.prompt_embeds"], ended["prompt.0"])


@pytest.mark.parametrize("stage", STAGES[1:])
def test_every_stage_stands_on_the_restorer(runs: dict[str, Any], stage: str) -> None:
    started, _, _ = runs[stage]
    _, restorer, _ = runs["restorer"]
    found = [name for name in started if name.startswith("autoencoder.restorer.")]
    assert found and all(torch.equal(started[name], restorer[name.removeprefix("autoencoder.")]) for name in found)


def test_distillation_starts_with_lora_folded_into_the_base(runs: dict[str, Any]) -> None:
    adapter = build_stage(recipe("adapter", runs["output"]))
    adapter.transformer.load_state_dict(
        {
            name.removeprefix("transformer."): value
            for name, value in runs["adapter"][1].items()
            if "autoencoder" not in name
        }
    )
    distill = build_stage(recipe("distill", runs["output"]))
    assert not [name for name in distill.transformer.state_dict() if "lora" in name or "base_layer" in name]
    geometry = distill.autoencoder.geometry
    latents = toy.noisy_latents(channels=geometry.latent_channels)
    conditions = toy.conditions(channels=geometry.condition_channels)
    with torch.no_grad():
        outputs = [
            stage.transformer(latents, toy.timesteps(), features=stage.transformer.encode_conditions(conditions)).sample
            for stage in (adapter, distill)
        ]
    torch.testing.assert_close(*outputs)


def test_refuses_missing_predecessors(runs: dict[str, Any], tmp_path: Path) -> None:
    for stage in STAGES[1:]:
        with pytest.raises(SettingsError, match="mini_restorer holds no checkpoint: train that stage first"):
            build_stage(recipe(stage, tmp_path))
    after(runs, tmp_path, "restorer")
    for stage in STAGES[2:]:
        with pytest.raises(SettingsError, match="mini_autoencoder holds no checkpoint: train that stage first"):
            build_stage(recipe(stage, tmp_path))
    with pytest.raises(SettingsError, match="makes no whole model: export a restorer, adapter or distill recipe"):
        trained_modules(recipe("autoencoder", tmp_path))


@pytest.mark.parametrize("stage", ["adapter", "distill"])
def test_trained_modules_are_the_averaged_ones(runs: dict[str, Any], stage: str) -> None:
    autoencoder, transformer = trained_modules(recipe(stage, runs["output"]))
    for part, module in (("autoencoder", autoencoder), ("transformer", transformer)):
        for name, value in module.state_dict().items():
            assert torch.equal(value, runs[stage][1][f"{part}.{name}"]), name


@pytest.mark.parametrize("scores", [None, "[]", '{"median": {}}', '{"means": {"a": 1}}'])
def test_export_refuses_scores_that_are_none(scores: str | None, runs: dict[str, Any], tmp_path: Path) -> None:
    if scores:
        (tmp_path / "report.json").write_text(scores)
    with pytest.raises(InputError, match=r"is no report\.json"):
        export(recipe("adapter", runs["output"]), tmp_path / "model", validation=tmp_path / "report.json")
    assert not (tmp_path / "model").exists()


# --- stop and resume ----------------------------------------------------------------------------------------


def stop_by_time(chosen: Recipe, source: ClipSource) -> None:
    list(run(chosen, build_stage(chosen), source, minutes=0))


def stop_by_kill(chosen: Recipe, source: ClipSource) -> None:
    """In the third step, after the checkpoint of the second."""
    for event in run(chosen, build_stage(chosen), source):
        if event.step == 3:
            break


def stop_by_signal(chosen: Recipe, source: ClipSource) -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    steps = []
    with pytest.raises(KeyboardInterrupt):
        for event in run(replace(chosen, checkpoint_every=100), build_stage(chosen), source):
            steps.append(event.step)
            if event.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
    assert steps == [1, 2, 3]  # the step after the signal is finished and saved
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def stop_while_saving(chosen: Recipe, source: ClipSource) -> None:
    """The newest checkpoint is not complete, the one before it is there."""
    stop_by_kill(chosen, source)
    newest = last_checkpoint(chosen.run)
    partial = newest.rename(newest.with_name(f".{newest.name}.partial"))
    (partial / "state.json").write_text('{"step": 2')


@pytest.mark.parametrize(
    ("stop", "resumes_at"), [(stop_by_time, 2), (stop_by_kill, 3), (stop_by_signal, 4), (stop_while_saving, 2)]
)
def test_resumed_equals_uninterrupted(
    stop: Callable[[Recipe, ClipSource], None],
    resumes_at: int,
    runs: dict[str, Any],
    source: ClipSource,
    tmp_path: Path,
) -> None:
    chosen = recipe("restorer", tmp_path)
    stop(chosen, source)
    stage = build_stage(chosen)
    assert [event.step for event in run(chosen, stage, source)] == list(range(resumes_at, 5))
    assert same(weights(stage), runs["restorer"][1])
    for file in ("weights", "average", "optimizer"):
        resumed, whole = (saved(output / "mini_restorer", file) for output in (tmp_path, runs["output"]))
        assert same(resumed, whole)


@pytest.mark.parametrize("stage_name", STAGES[1:])
def test_every_stage_resumes(stage_name: str, runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(stage_name, after(runs, tmp_path, *STAGES[: STAGES.index(stage_name)]))
    stop_by_kill(chosen, source)
    stage = build_stage(chosen)
    assert [event.step for event in run(chosen, stage, source)] == [3, 4]
    assert same(weights(stage), runs[stage_name][1])


def test_a_finished_run_is_loaded_and_not_trained(runs: dict[str, Any], source: ClipSource) -> None:
    chosen = recipe("restorer", runs["output"])
    stage = build_stage(chosen)
    assert list(run(chosen, stage, source)) == []
    assert same(weights(stage), runs["restorer"][1])


def test_a_validation_that_fails_leaves_the_weights_in_training(source: ClipSource, tmp_path: Path) -> None:
    class Failing:
        def run(self, stage: Stage, step: int) -> None:
            raise RuntimeError("out of memory")

    chosen = recipe("restorer", tmp_path, validation_every=3)
    stage = build_stage(chosen)
    samples = Samples(stage.make_sample, source, chosen)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(train(chosen, stage, samples, data_digest=source.digest, validator=Failing()))  # type: ignore[arg-type]
    state = stage.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved(chosen.run, "weights").items())


def test_precision_is_the_recipes_alone(
    runs: dict[str, Any], source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that of accelerate's settings, which would halve a fp32 run unnoticed."""
    ended = []
    for setting in ("no", "bf16"):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", setting)
        AcceleratorState._reset_state(reset_partial_state=True)
        chosen = recipe("restorer", tmp_path / setting, precision="fp32", steps=2)
        stage = build_stage(chosen)
        list(run(chosen, stage, source))
        ended.append(weights(stage))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert same(*ended)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_warns_where_bf16_is_slow(
    runs: dict[str, Any], source: ClipSource, tmp_path: Path, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it is depends on the processor; with ONEDNN_MAX_CPU_ISA=AVX2 any emulates it."""
    chosen = recipe("restorer", tmp_path, precision=precision, steps=1)
    list(run(chosen, build_stage(chosen), source))
    slow = precision == "bf16" and default_dtype("cpu") == torch.float32
    assert ("precision=fp32 is faster here" in caplog.text) == slow


# --- refusals -----------------------------------------------------------------------------------------------


def copied(runs: dict[str, Any], output: Path) -> Path:
    shutil.copytree(runs["output"] / "mini_restorer", output / "mini_restorer")
    return output


def test_refuses_to_resume_on_other_data(runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("restorer", copied(runs, tmp_path))
    other = copy.copy(source)
    other.digest = "other"
    with pytest.raises(SettingsError, match="other data"):
        next(run(chosen, build_stage(chosen), other))


def test_refuses_to_resume_where_a_stage_before_has_gone_on(
    runs: dict[str, Any], source: ClipSource, tmp_path: Path
) -> None:
    for name in ("restorer", "autoencoder"):
        shutil.copytree(runs["output"] / f"mini_{name}", tmp_path / f"mini_{name}")
    chosen = recipe("autoencoder", tmp_path, steps=6)
    assert [event.step for event in run(chosen, build_stage(chosen), source)] == [5, 6]
    further = recipe("restorer", tmp_path, steps=5)
    list(run(further, build_stage(further), source))
    with pytest.raises(SettingsError, match=r"steps \{'mini_restorer': 4\}, which are now at \{'mini_restorer': 5\}"):
        next(run(recipe("autoencoder", tmp_path, steps=7), build_stage(chosen), source))


def test_tells_of_settings_that_have_changed(
    runs: dict[str, Any], source: ClipSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = recipe("restorer", copied(runs, tmp_path), steps=5, learning_rate=1e-5)
    list(run(chosen, build_stage(chosen), source))
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("patchvsr")]
    (told,) = [message for message in messages if "precision=fp32 is faster" not in message]
    assert "mini_restorer goes on with other settings: " in told
    assert "steps 4 -> 5" in told and "learning_rate 0.0004 -> 1e-05" in told


@pytest.mark.parametrize("sizes", [dict(num_restorer_blocks=6), dict(restorer_channels=12)])
def test_refuses_another_architecture(
    sizes: dict[str, int],
    runs: dict[str, Any],
    source: ClipSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = recipe("restorer", copied(runs, tmp_path))
    monkeypatch.setattr(mini, "new_autoencoder", lambda: toy.autoencoder(**sizes))
    with pytest.raises(SettingsError, match="another architecture"):
        next(run(chosen, build_stage(chosen), source))
    with pytest.raises(SettingsError, match="another architecture"):
        build_stage(recipe("autoencoder", tmp_path))


def test_a_checkpoint_that_cannot_be_written_is_said_in_one_line(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("restorer", tmp_path)
    chosen.run.mkdir()
    (chosen.run / "checkpoints").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write a checkpoint into .*mini_restorer"):
        list(run(chosen, build_stage(chosen), source))


def test_a_loss_that_is_not_a_number_names_stage_and_step(
    runs: dict[str, Any], source: ClipSource, tmp_path: Path
) -> None:
    chosen = recipe("restorer", copied(runs, tmp_path), steps=6)
    stage = build_stage(chosen)
    steps = run(chosen, stage, source)
    assert next(steps).step == 5
    with torch.no_grad():
        stage.restorer.head.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="mini_restorer step 5: loss is nan"):
        next(steps)


def test_a_gradient_that_is_not_a_number_stops_before_the_weights_are_lost(
    runs: dict[str, Any], source: ClipSource, tmp_path: Path
) -> None:
    chosen = recipe("restorer", copied(runs, tmp_path), steps=6)
    stage = build_stage(chosen)
    stage.restorer.head.bias.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(FloatingPointError, match="mini_restorer step 4: gradient norm is nan"):
        next(run(chosen, stage, source))
    assert all(parameter.isfinite().all() for parameter in stage.restorer.parameters())


def test_learning_rate_warms_up_and_falls(runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    """Adam's first step moves weights by the learning rate, so the file tells which rate was used."""
    chosen = recipe("restorer", tmp_path, warmup_steps=10, learning_rate=1e-2)
    stage = build_stage(chosen)
    before = weights(stage)
    list(run(chosen, stage, source, minutes=0))
    after = saved(tmp_path / "mini_restorer", "weights")
    moved = max((after[name] - before[name]).abs().max().item() for name in after)
    assert moved == pytest.approx(1e-3, rel=0.01)
    rates = [event.learning_rate for event in runs["restorer"][2]]  # without warm-up
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(4e-4)


def test_log_has_a_line_per_event(runs: dict[str, Any]) -> None:
    log = (runs["output"] / "mini_restorer" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in log] == [asdict(event) for event in runs["restorer"][2]]


# --- samples, files, devices --------------------------------------------------------------------------------


def test_workers_do_not_change_a_bit(runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("restorer", tmp_path, workers=2)
    stage = build_stage(chosen)
    list(run(chosen, stage, source))
    assert same(weights(stage), runs["restorer"][1])


def test_a_second_interrupt_does_not_wait(runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("restorer", tmp_path, checkpoint_every=100)
    steps = run(chosen, build_stage(chosen), source)
    next(steps)
    handlers = signal.getsignal(signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    steps.close()
    assert signal.getsignal(signal.SIGINT) is not handlers and not checkpoints(chosen.run)


def test_a_folder_in_which_another_process_trains_is_refused(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("restorer", tmp_path)
    steps = run(chosen, build_stage(chosen), source)
    next(steps)
    before = {path: path.read_bytes() for path in chosen.run.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match="another process is training here"):
        next(run(replace(chosen, learning_rate=1.0), build_stage(chosen), source))
    assert {path: path.read_bytes() for path in chosen.run.rglob("*") if path.is_file()} == before
    steps.close()
    assert next(run(chosen, build_stage(chosen), source)).step == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_signals_to_the_trainer_from_their_first_moment(number: int, source: ClipSource) -> None:
    chosen = recipe("restorer", Path(), workers=2)
    loader = batches(Samples(build_stage(chosen).make_sample, source, chosen), chosen, 0)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, number)
    assert len(next(loader)["hq"]) == chosen.batch_size


def test_workers_can_be_ended_all_the_same(source: ClipSource) -> None:
    """DataLoader does so where its iterator is left over, as an error's traceback may hold it until the end."""
    chosen = recipe("restorer", Path(), workers=2)
    loader = batches(Samples(build_stage(chosen).make_sample, source, chosen), chosen, 0)
    assert next(loader)
    workers = multiprocessing.active_children()
    for worker in workers:
        with contextlib.suppress(RuntimeError):  # DataLoader's own watch over its workers
            worker.terminate()
            worker.join(30)
    assert [worker.exitcode for worker in workers] == 2 * [-signal.SIGKILL]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_do_not_lose_the_step(
    number: int, runs: dict[str, Any], source: ClipSource, tmp_path: Path
) -> None:
    """As Ctrl-C and launchers send them: to the workers too."""
    chosen = recipe("restorer", tmp_path, workers=2, checkpoint_every=100)
    steps = run(chosen, build_stage(chosen), source)
    next(steps)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, number)
    os.kill(os.getpid(), number)
    assert next(steps).step == 2
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    assert last_checkpoint(chosen.run).name == "step-000002"


def test_two_halves_of_a_batch_are_the_batch(runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    """Gradients accumulate to those of the whole batch, up to rounding."""
    gradients, losses = [], []
    for parts in (1, 2):
        chosen = recipe(
            "restorer", tmp_path / str(parts), batch_size=2 // parts, accumulate=parts, precision="fp32", steps=1
        )
        stage = build_stage(chosen)
        (event,) = run(chosen, stage, source)
        gradients.append(event.gradient_norm)
        losses.append(event.losses)
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_keeps_the_last_checkpoints_and_its_recipe(runs: dict[str, Any]) -> None:
    folder = runs["output"] / "mini_restorer"
    assert [checkpoint.name for checkpoint in checkpoints(folder)] == ["step-000003", "step-000004"]
    assert load_recipe(folder / "recipe.json") == recipe("restorer", runs["output"])


def test_an_autoencoder_is_exported_with_the_rest_of_the_model_it_went_on_from(
    runs: dict[str, Any], tmp_path: Path
) -> None:
    autoencoder, transformer = trained_modules(recipe("distill", runs["output"]))
    model = PatchVSRPipeline(transformer, autoencoder, patch_px=96, patch_frames=9)
    model.save_pretrained(tmp_path / "before")
    chosen = recipe("autoencoder", tmp_path, init=str(tmp_path / "before"))
    with pytest.raises(SettingsError, match="holds no checkpoint"):
        export(chosen, tmp_path / "after")
    after(runs, tmp_path, "autoencoder")
    export(chosen, tmp_path / "after", num_inference_steps=0)
    exported = PatchVSRPipeline.from_pretrained(tmp_path / "after")
    assert [exported.config[name] for name in ("patch_px", "patch_frames", "num_inference_steps")] == [96, 9, 0]
    assert not [file for file in (tmp_path / "after").rglob("*.json") if str(tmp_path) in file.read_text()]
    for name, value in exported.vae.state_dict().items():
        wanted = runs["autoencoder"][1][f"autoencoder.{name}"]
        assert torch.equal(value, wanted.bfloat16().float()), name
    for name, value in exported.transformer.state_dict().items():
        torch.testing.assert_close(value, transformer.state_dict()[name], rtol=1e-2, atol=1e-6, msg=name)


def test_gradient_checkpointing_changes_nothing(runs: dict[str, Any], source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe("adapter", after(runs, tmp_path, *STAGES[:3]), gradient_checkpointing=True)
    stage = build_stage(chosen)
    assert stage.transformer.is_gradient_checkpointing
    list(run(chosen, stage, source))
    assert same(weights(stage), runs["adapter"][1])


@pytest.mark.parametrize("objective", ["consistency", "distribution", "adversarial"])
def test_few_step_objectives_train_and_resume(
    objective: str, runs: dict[str, Any], source: ClipSource, tmp_path: Path
) -> None:
    ended = []
    for name, stopped in (("whole", False), ("resumed", True)):
        output = after(runs, tmp_path / name, *STAGES[:-1])
        chosen = recipe("distill", output, objective=objective, adversarial_weight=0.1)
        if stopped:
            stop_by_kill(chosen, source)
        stage = build_stage(chosen)
        events = list(run(chosen, stage, source))
        assert objective in events[-1].losses and all(math.isfinite(v) for v in events[-1].losses.values())
        ended.append(weights(stage))
        # What helped in training is no part of the model.
        autoencoder, _ = trained_modules(recipe("distill", output))
        assert torch.equal(autoencoder.decoder.head.weight, stage.autoencoder.decoder.head.weight)
    assert same(*ended)
    changed = {
        key for key in trained("distill", runs["distill"][0]) if not torch.equal(ended[0][key], runs["distill"][0][key])
    }
    assert changed == trained("distill", runs["distill"][0])
