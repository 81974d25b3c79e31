"""Names of models, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch
import toy

from patchvsr.errors import ModelError
from patchvsr.models import registry
from patchvsr.models.registry import resolve_model
from patchvsr.pipeline import PatchVSRPipeline


def test_resolves_bundled_names_folders_and_hub_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_index.json").touch()
    monkeypatch.setitem(registry.REGISTRY, "small", registry.BundledModel("small", folder=tmp_path))
    assert resolve_model("small") == resolve_model(tmp_path) == resolve_model(str(tmp_path)) == str(tmp_path)
    assert resolve_model("owner/model-1.3B") == "owner/model-1.3B"


@pytest.mark.parametrize("name", ["mimi", "./owner", "/no/model", "~/model", "owner/model/file", "own er/model"])
def test_refuses_names_of_nothing(name: str) -> None:
    with pytest.raises(ModelError, match="unknown model"):
        resolve_model(name)


def test_refuses_folders_and_files_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model_index\.json"):
        resolve_model(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="unknown model"):
        resolve_model(tmp_path / "model.safetensors")


def test_without_network_the_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="cannot load model 'owner/model'") as caught:
        PatchVSRPipeline.from_pretrained("owner/model")
    assert "\n" not in str(caught.value)


def test_saved_pipeline_comes_back_bit_for_bit(tmp_path: Path) -> None:
    pipeline, video = toy.pipeline(noise_timestep=150.0, detail=0.5, still_noise=True), toy.video(5, 20, 24)
    pipeline.save_pretrained(tmp_path)
    loaded = PatchVSRPipeline.from_pretrained(tmp_path)
    for part in ("transformer", "vae"):
        state, loaded_state = (getattr(p, part).state_dict() for p in (pipeline, loaded))
        assert state.keys() == loaded_state.keys()
        assert all(torch.equal(state[name], loaded_state[name]) for name in state)
        module = getattr(loaded, part)
        assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    names = ("patch_px", "patch_frames", "num_inference_steps", "joint_mode", "noise_timestep", "detail", "still_noise")
    for name in names:
        assert loaded.config[name] == pipeline.config[name]
    assert torch.equal(loaded(video).frames, pipeline(video).frames)


def test_incomplete_folder_is_one_clear_line(tmp_path: Path) -> None:
    toy.pipeline().save_pretrained(tmp_path)
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for broken in (whole[: len(whole) // 2], None):
        weights.unlink() if broken is None else weights.write_bytes(broken)
        with pytest.raises(ModelError, match=r"cannot load model .*diffusion_pytorch_model") as caught:
            PatchVSRPipeline.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


def test_bfloat16(tmp_path: Path) -> None:
    pipeline, video = toy.pipeline(), toy.video(5, 20, 24)
    pipeline.save_pretrained(tmp_path)
    loaded = PatchVSRPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.transformer.dtype == loaded.vae.dtype == torch.bfloat16
    assert loaded.transformer.blocks[0].norm2.weight.dtype == torch.float32  # as diffusers keeps it for Wan
    frames = loaded(video).frames
    assert frames.dtype == torch.float32
    assert (frames - pipeline(video).frames).abs().mean() < 0.01
