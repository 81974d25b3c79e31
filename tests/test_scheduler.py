"""The scheduler is a component of the pipeline: its flow shift is the base's, is saved, counts and is part of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_wan
from clips import make_video
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from patchvsr.errors import JobError, ModelError, SettingsError
from patchvsr.jobs.identity import differences, job_identity, machine_identity
from patchvsr.loading import load_pipeline
from patchvsr.media.settings import ReadSettings
from patchvsr.models.registry import REGISTRY, Base
from patchvsr.models.wan_base.base import load_base, new_scheduler
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.sampling.schedule import replaced, set_steps
from patchvsr.settings import SCHEDULERS, RestoreSettings, UpscaleSettings
from patchvsr.training.export import write_model
from patchvsr.upscale import upscale

SHIFT = 3.0
SMALL = {"patch_px": toy.PATCH_PX, "patch_frames": 5}
PROVENANCE: dict[str, Any] = {"patchvsr": "0.1.0", "data_sha256": "", "stages": {}, "validation": None}
OWN_STAGE = {"toy_base": {"steps": 1, "minutes": 1, "recipe": {}}}


def shifted(shift: float = SHIFT, **settings: Any) -> PatchVSRPipeline:
    pipeline = toy.pipeline(**settings)
    pipeline.register_modules(scheduler=FlowMatchEulerDiscreteScheduler(shift=shift))
    return pipeline


def restore(pipeline: PatchVSRPipeline, steps: int) -> Tensor:
    return pipeline(toy.video(5, 16, 16), num_inference_steps=steps).frames


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A toy base that is known to have been trained with a shift."""
    folder = str(toy_wan.save_base(tmp_path / "base"))
    monkeypatch.setitem(REGISTRY, "toy", Base(folder, flow_shift=SHIFT))
    return folder


def write(base: str, folder: Path, **stages: Any) -> Path:
    transformer, _ = load_base(base, dtype=torch.bfloat16)
    transformer = toy.trained(toy.transformer(transformer, condition_channels=toy_wan.LATENT_CHANNELS))
    autoencoder = toy_wan.autoencoder().requires_grad_(False)
    write_model(transformer, autoencoder, folder, base=base, provenance=PROVENANCE | {"stages": stages}, **SMALL)
    return folder


def test_an_adapter_takes_the_shift_of_its_base(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(base, tmp_path / "model")
    assert (folder / "adapter.safetensors").is_file()
    assert PatchVSRPipeline.from_pretrained(folder).scheduler.config.shift == SHIFT
    other = str(toy_wan.save_base(tmp_path / "other"))  # of unknown shift
    assert PatchVSRPipeline.from_pretrained(folder, base=other).scheduler.config.shift == 1


def test_the_shift_of_a_folder_is_that_of_its_own_scheduler(tmp_path: Path) -> None:
    folder = toy_wan.save_base(tmp_path / "base")
    assert new_scheduler(str(folder)).config.shift == 1
    UniPCMultistepScheduler(flow_shift=SHIFT, use_flow_sigmas=True).save_pretrained(folder / "scheduler")
    assert new_scheduler(str(folder)).config.shift == SHIFT
    (folder / "scheduler" / "scheduler_config.json").write_text("[")
    with pytest.raises(ModelError, match=r"scheduler_config.json cannot be read"):
        new_scheduler(str(folder))


def test_a_trained_base_is_written_with_its_shift(base: str, tmp_path: Path) -> None:
    folder = write(base, tmp_path / "model", **OWN_STAGE)
    assert json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["shift"] == SHIFT
    assert PatchVSRPipeline.from_pretrained(folder).scheduler.config.shift == SHIFT


@pytest.mark.parametrize("name", ["wan2.1-1.3b", "wan2.1-14b", "wan2.2-5b"])
def test_bases_of_wan_are_used_with_the_shift_they_publish(name: str) -> None:
    assert REGISTRY[name].flow_shift == {"wan2.1": 3.0, "wan2.2": 5.0}[name.split("-")[0]]


def test_a_saved_pipeline_keeps_its_shift(tmp_path: Path) -> None:
    pipeline = shifted()
    pipeline.save_pretrained(tmp_path)
    loaded = PatchVSRPipeline.from_pretrained(tmp_path)
    assert loaded.scheduler.config.shift == SHIFT
    assert torch.equal(restore(loaded, 2), restore(pipeline, 2))


def test_without_a_scheduler_there_is_no_shift() -> None:
    assert toy.pipeline().scheduler.config.shift == 1
    assert torch.equal(restore(toy.pipeline(), 2), restore(shifted(1.0), 2))


@pytest.mark.parametrize("steps", [2, 4])
def test_the_shift_counts_from_two_steps_on(steps: int) -> None:
    plain, other = toy.pipeline(), shifted()
    assert (restore(plain, steps) - restore(other, steps)).abs().max() > 1 / 255
    for few in (0, 1):  # one step goes from pure noise to video, whatever the shift
        assert torch.equal(restore(plain, few), restore(other, few))


def test_another_number_of_steps_leaves_nothing_behind() -> None:
    pipeline = shifted()
    before = restore(pipeline, 2)
    restore(pipeline, 4)
    assert torch.equal(restore(pipeline, 2), before)


def test_an_impossible_shift_is_refused_when_it_is_used() -> None:
    pipeline = shifted(-1.0)
    with pytest.raises(SettingsError, match=r"shift is -1\.0"):
        restore(pipeline, 2)
    assert restore(pipeline, 0).isfinite().all()


def test_a_job_is_another_with_another_shift(tmp_path: Path) -> None:
    (tmp_path / "in.mkv").write_bytes(b"any")

    def identity(pipeline: PatchVSRPipeline) -> dict[str, Any]:
        resolved = pipeline.resolve(RestoreSettings())
        machine = machine_identity(pipeline)
        return job_identity(tmp_path / "in.mkv", ReadSettings(), resolved, Size(64, 64), {}, machine)

    plain, other = identity(toy.pipeline()), identity(shifted())
    assert identity(shifted()) == other
    (line,) = differences(plain, other)
    assert line.startswith("model.sha256 was ")


def test_a_run_leaves_the_identity_alone(tmp_path: Path) -> None:
    """The steps that a run sets are state of the scheduler, not of the model: the same job goes on."""
    source = make_video(tmp_path / "in.mkv", count=10, size=(32, 32))
    settings = UpscaleSettings.of(scale=2, num_inference_steps=2, chunk_frames=5, unit_frames=5)
    pipeline, target = shifted(), tmp_path / "out.mkv"
    stops = iter([False, True])
    list(upscale(source, target, settings, pipeline=pipeline, stop=lambda _: next(stops)))
    assert not target.exists()
    with pytest.raises(JobError, match=r"model\.sha256"):
        list(upscale(source, target, settings, pipeline=toy.pipeline()))
    list(upscale(source, target, settings, pipeline=pipeline))
    assert target.exists()


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("start", [1.0, 0.3])
def test_steps_start_where_they_are_told(name: str, shift: float, start: float) -> None:
    scheduler = set_steps(replaced(FlowMatchEulerDiscreteScheduler(shift=shift), name), 4, start)
    below = 2e-6 if name == "unipc" else None  # which starts just below 1, where its logarithms are finite
    assert scheduler.sigmas[0].item() == pytest.approx(start, abs=below) and scheduler.sigmas[-1] == 0
    torch.testing.assert_close(scheduler.timesteps, 1000 * scheduler.sigmas[:-1])
    assert (scheduler.sigmas.diff() < 0).all()


def test_one_is_replaced_by_another_of_the_same_shift(tmp_path: Path) -> None:
    shifted(num_inference_steps=4).save_pretrained(tmp_path)

    def load(name: str | None = None) -> PatchVSRPipeline:
        return load_pipeline(RestoreSettings(model=str(tmp_path), dtype="float32", scheduler=name))

    usual, euler, unipc = load(), load("euler"), load("unipc")
    assert unipc.scheduler.config.flow_shift == SHIFT
    assert torch.equal(restore(euler, 4), restore(usual, 4))
    assert not torch.equal(restore(unipc, 4), restore(usual, 4))
    assert torch.equal(restore(unipc, 4), restore(unipc, 4))  # nothing is left of an earlier run
    torch.testing.assert_close(restore(unipc, 1), restore(usual, 1), atol=1e-4, rtol=0)
    assert machine_identity(unipc)["model"] != machine_identity(usual)["model"]
    unipc.save_pretrained(tmp_path / "saved")
    saved = PatchVSRPipeline.from_pretrained(tmp_path / "saved")
    assert torch.equal(restore(saved, 4), restore(unipc, 4))
