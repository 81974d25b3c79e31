"""Upscale with a Wan base alone: no adapter, the latents of the input as the start, the prompt encoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_wan
from clips import make_video
from command import run_here

from patchvsr import pipeline as pipeline_module
from patchvsr.errors import ModelError
from patchvsr.jobs.identity import model_identity
from patchvsr.loading import load_pipeline
from patchvsr.media.tensors import read_rgb
from patchvsr.models.registry import REGISTRY, Base
from patchvsr.pipeline import PLAIN_STEPS, PLAIN_STRENGTH, PatchVSRPipeline
from patchvsr.sampling.coarse import low_frequencies
from patchvsr.settings import RestoreSettings


@pytest.fixture(params=["wan2.1", "wan2.2"])
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PATCHVSR_CACHE", str(tmp_path / "cache"))
    folder = toy_wan.save_text_encoder(toy_wan.save_base(tmp_path / "base", request.param))
    monkeypatch.setitem(REGISTRY, "toy", Base(str(folder), patch_px=64, patch_frames=5, flow_shift=3.0))
    return str(folder)


def test_the_prompt_is_asked_for_and_then_kept(base: str, capfd: Any) -> None:
    with pytest.raises(ModelError, match=f"run once: patchvsr cache-prompt {base}"):
        PatchVSRPipeline.from_base(base)
    first = run_here(capfd, "cache-prompt", base)
    assert first.returncode == 0 and Path(first.stderr.strip()).is_file()
    before = Path(first.stderr.strip()).stat().st_mtime_ns
    assert run_here(capfd, "cache-prompt", base).stderr == first.stderr
    assert Path(first.stderr.strip()).stat().st_mtime_ns == before


def test_a_file_is_upscaled_with_a_base_alone(base: str, tmp_path: Path, capfd: Any) -> None:
    run_here(capfd, "cache-prompt", base)
    make_video(tmp_path / "in.mkv", count=6, size=(32, 32))
    done = run_here(
        capfd, "upscale", tmp_path / "in.mkv", "-o", tmp_path / "out.mkv", "--base", base, "--scale", 2, "--no-check",
        "--strength", 0.01, "--steps", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames = torch.stack([*read_rgb(tmp_path / "out.mkv")])
    assert frames.shape == (6, 3, 64, 64)


def test_it_is_the_same_model_whenever_it_is_loaded(base: str, capfd: Any) -> None:
    """Or a job that was killed could not go on: weights of an adapter that is not there would be drawn anew."""
    run_here(capfd, "cache-prompt", base)
    known = []
    for seed in range(2):
        torch.manual_seed(seed)
        pipeline = PatchVSRPipeline.from_base(base)
        known.append(model_identity(pipeline))
    assert known[0] == known[1]
    assert pipeline.transformer.adapter_state_dict().keys() == {"prompt_embeds"}


def test_little_strength_keeps_the_latents_of_the_input(base: str, capfd: Any) -> None:
    run_here(capfd, "cache-prompt", base)
    pipeline = load_pipeline(RestoreSettings(base=base, dtype="float32"))
    assert (pipeline.config.num_inference_steps, pipeline.config.strength) == (PLAIN_STEPS, PLAIN_STRENGTH)
    assert pipeline.scheduler.config.shift == 3 and not pipeline.transformer.branch_blocks
    video = toy.video(5, 16, 16)
    own, little, usual = (
        pipeline(video, output_type="latent", **settings).latents
        for settings in (dict(strength=1e-5, num_inference_steps=1), dict(strength=1e-3), {})
    )
    assert (little - own).abs().max() < 0.1 * (usual - own).abs().max()


def test_low_frequencies_are_those_of_the_coarse_pass(base: str, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole frame is restored first, at the base's own size; the patches keep its low frequencies."""
    run_here(capfd, "cache-prompt", base)
    pipeline = load_pipeline(RestoreSettings(base=base, dtype="float32"))
    calls, denoise = [], pipeline_module.denoise

    def remembered(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(kwargs | {"result": denoise(*args, **kwargs)})
        return calls[-1]["result"]

    monkeypatch.setattr(pipeline_module, "denoise", remembered)
    video = toy.video(5, 24, 24)
    latents = pipeline(video, strength=0.5, output_type="latent").latents
    coarse, fine = calls
    assert coarse["result"].shape[-1] * pipeline.vae.geometry.spatial_factor == 64 < 96
    assert torch.equal(fine["held"], fine["start"]) and torch.equal(fine["result"], latents)
    for call in calls:
        torch.testing.assert_close(
            low_frequencies(call["result"]), low_frequencies(call["held"]), rtol=0, atol=0.2 * call["held"].std().item()
        )
        assert (call["result"] - call["held"]).abs().max() > 0.01
    unchanged = pipeline.vae.latents_of(calls[0]["start"])
    assert (coarse["result"] - unchanged).abs().max() > 0.01
    single = pipeline(video[..., :16, :16], strength=0.5, output_type="latent").latents
    assert len(calls) == 3 and single.shape[-1] == coarse["result"].shape[-1]


def test_a_whole_model_takes_no_other_base(base: str, tmp_path: Path) -> None:
    toy.pipeline().save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="is a whole model: it takes no other base"):
        load_pipeline(RestoreSettings(model=str(tmp_path / "model"), base=base))
