"""Bases: found by name, loaded from folders in diffusers' format, and their one fixed prompt."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
import toy
import toy_wan
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file

from patchvsr.errors import ModelError
from patchvsr.models.registry import REGISTRY, find_base
from patchvsr.models.wan_base.base import load_base, new_transformer
from patchvsr.models.wan_base.prompt import FIXED_PROMPT, PROMPT_LENGTH, encode_prompt, fixed_prompt
from patchvsr.patches.grid import padded_length


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(toy_wan.save_base(tmp_path / "base"))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_found_by_name_by_repository_and_by_folder(base: str) -> None:
    assert find_base("wan2.1-1.3b") is find_base("Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
    assert find_base(base).repository is None
    assert find_base("owner/base").repository == "owner/base"
    for name in ("wan", "no/such/folder", "./base"):
        with pytest.raises(ModelError, match=r"unknown base .* wan2\.2-5b"):
            find_base(name)


@pytest.mark.parametrize("name", REGISTRY)
def test_a_patch_is_whole_tokens(name: str) -> None:
    known = REGISTRY[name]
    assert known.patch_frames % 4 == 1
    assert padded_length(known.patch_px, known.patch_px, 2 * 16) == known.patch_px


@pytest.mark.parametrize("flavour", toy_wan.FLAVOURS)
def test_loads_what_diffusers_saved(flavour: str, tmp_path: Path) -> None:
    folder = toy_wan.save_base(tmp_path / "base", flavour)
    transformer, autoencoder = load_base(str(folder), dtype=torch.float32)
    for loaded, saved in ((transformer, toy_wan.base()), (autoencoder, toy_wan.vae(flavour))):
        state, expected = loaded.state_dict(), saved.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)
        assert not loaded.training
    halved = load_base(str(folder), dtype=torch.bfloat16)
    assert [module.dtype for module in halved] == [torch.bfloat16] * 2


def test_from_the_hub_cache_without_network(offline: Path, base: str) -> None:
    with pytest.raises(ModelError, match="cannot load model 'owner/toy-base' from the Hub or its cache") as caught:
        load_base(toy_wan.BASE, dtype=torch.float32)
    assert "\n" not in str(caught.value)
    toy_wan.put_into_cache(offline, toy_wan.BASE, Path(base))
    transformer, _ = load_base(toy_wan.BASE, dtype=torch.float32)
    assert torch.equal(transformer.proj_out.weight, toy_wan.base().proj_out.weight)


def test_refuses_incomplete_bases_and_other_models(base: str, tmp_path: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            load_base(name, dtype=torch.float32)
        assert "\n" not in str(caught.value)

    refused("mini", "trained")
    weights = Path(base, "vae", "diffusion_pytorch_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(base, "cannot load .*vae")
    weights.unlink()
    refused(base, "cannot load .*vae")
    for file in Path(base, "vae").iterdir():
        file.unlink()
    Path(base, "vae").rmdir()
    refused(base, "vae is missing")
    # An image-to-video base takes the image's latents in further channels.
    refused(str(toy_wan.save_base(tmp_path / "i2v", in_channels=2 * toy_wan.LATENT_CHANNELS)), "text-to-video")


@torch.no_grad()
def test_a_new_adapter_changes_nothing(base: str) -> None:
    prompt = toy.randn(1, 5, toy.TEXT_DIM)
    transformer, autoencoder = new_transformer(base, prompt, dtype=torch.float32)
    assert transformer.config.condition_channels == autoencoder.geometry.condition_channels
    assert len(transformer.branch_blocks) == find_base(base).num_branch_blocks
    plain = WanTransformer3DModel.from_pretrained(base, subfolder="transformer").eval()
    latents, timesteps = toy.noisy_latents(channels=toy_wan.LATENT_CHANNELS), toy.timesteps()
    expected = plain(latents, timesteps, prompt.expand(2, -1, -1)).sample
    assert torch.equal(transformer(latents, timesteps).sample, expected)


def test_the_prompt_is_encoded_as_wan_does(base: str) -> None:
    from transformers import UMT5EncoderModel

    toy_wan.save_text_encoder(Path(base))
    embeds = encode_prompt(base, "sharp   video")
    assert embeds.shape == (1, PROMPT_LENGTH, toy.TEXT_DIM)
    assert embeds.dtype == torch.bfloat16
    encoder = UMT5EncoderModel.from_pretrained(Path(base, "text_encoder"), dtype=torch.bfloat16).eval()
    encoder.encoder.embed_tokens.weight = encoder.shared.weight
    with torch.no_grad():
        expected = encoder(torch.tensor([[3, 5, 1]])).last_hidden_state
    assert expected.abs().min() > 0
    torch.testing.assert_close(embeds[:, :3], expected, rtol=0.02, atol=0.02)
    assert not embeds[:, 3:].any()  # the padding is zero, not what the encoder makes of it
    assert not torch.equal(embeds, encode_prompt(base, "clean video"))


def test_the_prompt_is_encoded_once_and_stored(base: str, tmp_path: Path) -> None:
    file = tmp_path / "new" / "prompt.safetensors"
    with pytest.raises(ModelError, match="tokenizer is missing"):
        fixed_prompt(base, file)
    toy_wan.save_text_encoder(Path(base))
    embeds = fixed_prompt(base, file)
    assert torch.equal(embeds, encode_prompt(base, FIXED_PROMPT))
    assert {path.name for path in file.parent.iterdir()} == {file.name, f".{file.name}.lock"}
    Path(base, "text_encoder").rename(tmp_path / "gone")
    assert torch.equal(fixed_prompt(base, file), embeds)


def test_refuses_a_stored_prompt_of_something_else(base: str, tmp_path: Path) -> None:
    file = tmp_path / "prompt.safetensors"
    embeds = {"prompt_embeds": torch.zeros(1, 2, toy.TEXT_DIM)}
    for made_of in ({"base": base, "prompt": "another"}, {"base": "wan2.2-5b", "prompt": FIXED_PROMPT}, None):
        save_file(embeds, file, metadata=made_of)
        with pytest.raises(ModelError, match="was made from"):
            fixed_prompt(base, file)
    file.write_text(json.dumps("no tensors"))
    with pytest.raises(ModelError, match="holds no prompt"):
        fixed_prompt(base, file)
