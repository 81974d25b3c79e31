"""Model folders: what is written, that it comes back, and that their cards are true."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import toy
import toy_wan
from clips import make_video
from command import Done
from huggingface_hub import ModelCard
from torch import Tensor

from patchvsr.errors import ModelError, OutputError, SettingsError
from patchvsr.models.registry import REGISTRY, bundled_models
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.wan_base.base import load_base
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.settings import RestoreSettings
from patchvsr.training.export import write_model
from patchvsr.training.model_card import model_card

PROVENANCE: dict[str, Any] = {
    "patchvsr": "0.1.0",
    "data_sha256": "72a19e29",
    "stages": {
        "adapter": {"steps": 600, "minutes": 22.3, "recipe": {"batch_size": 6, "learning_rate": 4e-4}},
        "distill": {"steps": 400, "minutes": 19.6, "recipe": {"batch_size": 1}},
    },
    "validation": {"bicubic": {"psnr_y": 32.0001}, "PatchVSR, 1 steps": {"psnr_y": 33.9599, "vmaf": 74.0}},
}
SMALL = {"patch_px": toy.PATCH_PX, "patch_frames": 5}
LORA = "pytorch_lora_weights.safetensors"


def on_base(base: Path, flavour: str = "wan2.1") -> tuple[PatchVSRTransformer3DModel, Any]:
    """As training leaves them: what was trained is float32, with digits that bfloat16 has not; the base is bfloat16."""
    base_model, _ = load_base(str(base), dtype=torch.bfloat16)
    autoencoder = toy_wan.autoencoder(flavour).requires_grad_(False)
    model = toy.trained(toy.transformer(base_model, condition_channels=autoencoder.geometry.condition_channels))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float() * 1.001
    return model, autoencoder


def restore(pipeline: PatchVSRPipeline) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(toy.video(5, 16, 24), seed=3).frames


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return toy_wan.save_base(tmp_path / "base")


def test_a_mini_is_written_whole_with_lora_folded_in(tmp_path: Path) -> None:
    transformer = toy.trained(toy.transformer())
    autoencoder = toy.autoencoder()
    before = restore(PatchVSRPipeline(transformer, autoencoder, **SMALL))
    write_model(transformer, autoencoder, tmp_path / "model", base="mini", provenance=PROVENANCE, **SMALL)
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert files == {"transformer", "vae", "scheduler", "model_index.json", "README.md", "provenance.json"}
    loaded = PatchVSRPipeline.from_pretrained(tmp_path / "model")
    assert not any("lora" in name for name in loaded.transformer.state_dict())
    assert loaded.config.num_inference_steps == 1
    difference = (restore(loaded) - before).abs().mean()
    assert 0 < difference < 0.01  # rounded to bfloat16


@pytest.mark.parametrize("flavour", toy_wan.FLAVOURS)
def test_an_adapter_comes_back_around_its_base(flavour: str, tmp_path: Path) -> None:
    base = toy_wan.save_base(tmp_path / "base", flavour)
    transformer, autoencoder = on_base(base, flavour)
    folder = tmp_path / "model"
    write_model(
        transformer, autoencoder, folder, base=str(base), provenance=PROVENANCE, num_inference_steps=2, **SMALL,
        joint_mode="overlap",
    )  # fmt: skip
    files = {file.name for file in folder.iterdir()}
    assert files == {"config.json", "adapter.safetensors", LORA, "README.md", "provenance.json"}
    weights = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("adapter.safetensors", LORA)}
    assert json.loads((folder / "provenance.json").read_text()) == PROVENANCE | {"weights_sha256": weights}

    loaded = PatchVSRPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    assert {name: loaded.config[name] for name in ("num_inference_steps", "joint_mode", *SMALL)} == {
        "num_inference_steps": 2,
        "joint_mode": "overlap",
        **SMALL,
    }
    state, expected = loaded.transformer.state_dict(), transformer.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert {name: value.dtype for name, value in state.items()} == {n: value.dtype for n, value in expected.items()}
    with pytest.raises(SettingsError, match=r"restoration is 0\.5: the decoder of this model has no such setting"):
        loaded.resolve(RestoreSettings(restoration=0.5))
    assert torch.equal(
        restore(loaded), restore(PatchVSRPipeline(transformer, autoencoder.bfloat16(), **loaded_settings(loaded)))
    )


def loaded_settings(pipeline: PatchVSRPipeline) -> dict[str, Any]:
    names = ("patch_px", "patch_frames", "num_inference_steps", "joint_mode", "noise_timestep")
    return {name: pipeline.config[name] for name in names}


def test_a_tuned_autoencoder_goes_with_the_adapter(base: Path, tmp_path: Path) -> None:
    transformer, autoencoder = on_base(base)
    autoencoder.decoder.requires_grad_(True)
    toy.randomised(autoencoder.decoder, std=0.1)
    write_model(transformer, autoencoder, tmp_path / "model", base=str(base), provenance=PROVENANCE, **SMALL)
    for file in (base / "vae").iterdir():  # not needed
        file.unlink()
    loaded = PatchVSRPipeline.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert torch.equal(loaded.vae.decoder.conv_out.weight, autoencoder.decoder.conv_out.weight)


def test_refuses_what_an_adapter_cannot_hold(base: Path, tmp_path: Path) -> None:
    transformer, autoencoder = on_base(base)
    transformer.proj_out.requires_grad_(True)
    with pytest.raises(ModelError, match=r"proj_out\.weight was trained"):
        write_model(transformer, autoencoder, tmp_path / "model", base=str(base), provenance=PROVENANCE)
    assert not (tmp_path / "model").exists()


def test_an_existing_folder_is_left_alone(base: Path, tmp_path: Path) -> None:
    transformer, autoencoder = on_base(base)
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="exists"):
        write_model(transformer, autoencoder, tmp_path / "model", base=str(base), provenance=PROVENANCE)
    assert list((tmp_path / "model").iterdir()) == []


def test_loading_refuses_adapters_without_a_base_or_of_a_later_version(base: Path, tmp_path: Path) -> None:
    transformer, autoencoder = on_base(base)
    folder = tmp_path / "model"
    write_model(transformer, autoencoder, folder, base=str(base), provenance=PROVENANCE, **SMALL)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"base": None}))
    with pytest.raises(ModelError, match="names no base"):
        PatchVSRPipeline.from_pretrained(folder)
    PatchVSRPipeline.from_pretrained(folder, base=str(base))
    (folder / "config.json").write_text(json.dumps(config | {"pipeline": {"colour": "more"}}))
    with pytest.raises(ModelError, match="another version of patchvsr"):
        PatchVSRPipeline.from_pretrained(folder)


# --- by name, from the Hub's cache ----------------------------------------------------------------------------


def no_network(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a base, an adapter for it and a whole pipeline; and no network."""
    cache = tmp_path / "hub"
    no_network(monkeypatch, cache)
    toy_wan.put_into_cache(cache, toy_wan.BASE, base)
    transformer, autoencoder = on_base(base)
    write_model(transformer, autoencoder, tmp_path / "adapter", base=toy_wan.BASE, provenance=PROVENANCE, **SMALL)
    toy.pipeline().save_pretrained(tmp_path / "pipeline")
    for name in ("adapter", "pipeline"):
        toy_wan.put_into_cache(cache, f"owner/{name}", tmp_path / name)
    return cache


@pytest.mark.parametrize("name", ["adapter", "pipeline"])
def test_loads_by_name_as_from_its_folder(hub: Path, tmp_path: Path, name: str) -> None:
    by_name = PatchVSRPipeline.from_pretrained(f"owner/{name}")
    from_folder = PatchVSRPipeline.from_pretrained(tmp_path / name)
    assert torch.equal(restore(by_name), restore(from_folder))


def test_what_is_not_cached_is_one_clear_line(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load model 'owner/other'") as caught:
        PatchVSRPipeline.from_pretrained("owner/other")
    assert "\n" not in str(caught.value)
    (hub / "models--owner--toy-base").rename(tmp_path / "gone")
    with pytest.raises(ModelError, match="cannot load model 'owner/toy-base'"):
        PatchVSRPipeline.from_pretrained("owner/adapter")


def test_upscales_with_an_adapter_from_the_hub(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patchvsr: Callable[..., Done]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "clip.mp4", count=3, size=(16, 16))
    # An untrained decoder gives anything but its input.
    done = patchvsr(
        "upscale", "clip.mp4", "-o", "out.mkv", "-s", 2, "--steps", 1, "--model", "owner/adapter", "--no-check"
    )
    assert done.returncode == 0, done.stderr
    assert "3 frames in, 3 out" in done.stderr


def test_info_of_an_adapter(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patchvsr: Callable[..., Done]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = patchvsr("info", "adapter")
    assert done.returncode == 0, done.stderr
    rows = dict(re.split(r"\s+", line, maxsplit=1) for line in done.stdout.splitlines() if line[:1].strip())
    assert rows["base"].strip() == toy_wan.BASE
    assert rows["patch_px"].strip() == str(toy.PATCH_PX)
    assert "PatchVSRTransformer3DModel" in rows["adapter"]
    assert rows["data_sha256"].strip() == PROVENANCE["data_sha256"]


# --- the card ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTRY)
def test_the_card_says_what_the_hub_asks(name: str, tmp_path: Path) -> None:
    base = REGISTRY[name]
    file = tmp_path / "README.md"
    file.write_text(model_card("my_model", base, PROVENANCE, {"patch_px": 512, "num_inference_steps": 3}))
    card = ModelCard.load(file)
    data = card.data.to_dict()
    assert data.get("base_model") == base.repository
    assert data["license"] == "apache-2.0"
    assert (data["library_name"], data["pipeline_tag"]) == ("diffusers", "video-to-video")
    assert "video-super-resolution" in data["tags"]
    for text in (
        "512x512",
        "Default number of denoising steps: 3.",
        "| adapter | 600 | 22.3 | 6 | 0.0004 |",
        "| distill | 400 | 19.6 | 1 |  |",
        PROVENANCE["data_sha256"],
        "| bicubic | 32.00 |  |",
        "| PatchVSR, 1 steps | 33.96 | 74 |",
        base.repository or "complete",
    ):
        assert text in card.text, text


def test_a_card_without_validation_says_so() -> None:
    text = model_card(
        "model", REGISTRY["mini"], PROVENANCE | {"validation": None}, {"patch_px": 512, "num_inference_steps": 0}
    )
    assert "None was recorded." in text


@pytest.mark.parametrize("name", bundled_models())
def test_the_bundled_card_is_what_its_provenance_makes(name: str) -> None:
    folder = bundled_models()[name]
    provenance, settings = (json.loads((folder / f).read_text()) for f in ("provenance.json", "model_index.json"))
    assert (folder / "README.md").read_text() == model_card(name, REGISTRY["mini"], provenance, settings)


def test_the_cards_commands_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patchvsr: Callable[..., Done]
) -> None:
    monkeypatch.chdir(tmp_path)
    no_network(monkeypatch, tmp_path / "hub")
    model = toy.pipeline()
    write_model(model.transformer, model.vae, tmp_path / "model", base="mini", provenance=PROVENANCE, **SMALL)
    card = (tmp_path / "model" / "README.md").read_text()
    command, code = (re.search(f"```{language}\n(.*?)```", card, re.S)[1] for language in ("sh", "python"))
    make_video(tmp_path / "clip.mp4", count=2)
    program, *words = shlex.split(command)
    assert program == "patchvsr"
    done = patchvsr(*words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.mkv").is_file()
    result: dict[str, Any] = {}
    exec(code, result)
    assert result["frames"].shape == (5, 3, 256, 256)
