"""Adapter folders: what is written, that it comes back bit for bit, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import toy
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models import checkpoint
from patchvsr.models.checkpoint import base_digest, load_adapter, save_adapter
from patchvsr.models.transformer import PatchVSRTransformer3DModel

LORA = "pytorch_lora_weights.safetensors"


def trained(base: WanTransformer3DModel | None = None, *, rank: int = 2) -> PatchVSRTransformer3DModel:
    """An adapter with every gate open, around the toy base as it is."""
    model = toy.trained(toy.transformer(base), rank=rank)
    with torch.no_grad():
        model.prompt_embeds.mul_(2)
    return model


@torch.no_grad()
def velocity(model: PatchVSRTransformer3DModel) -> Tensor:
    features = model.encode_conditions(toy.conditions().to("cpu", model.dtype))
    return model(toy.noisy_latents().to(model.dtype), toy.timesteps(), features=features).sample


@pytest.mark.parametrize("new_base", [toy.base, lambda: toy.bfloat16(toy.base())], ids=["fp32", "bf16"])
@pytest.mark.parametrize("rank", [0, 2])
def test_comes_back_bit_for_bit(tmp_path: Path, rank: int, new_base: Callable[[], WanTransformer3DModel]) -> None:
    model = trained(new_base(), rank=rank)
    save_adapter(model, tmp_path / "adapter")
    loaded = load_adapter(new_base(), tmp_path / "adapter")
    state, loaded_state = model.state_dict(), loaded.state_dict()
    assert state.keys() == loaded_state.keys()
    assert all(torch.equal(state[name], loaded_state[name]) for name in state)
    assert [tensor.dtype for tensor in state.values()] == [tensor.dtype for tensor in loaded_state.values()]
    assert torch.equal(velocity(model), velocity(loaded))
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    assert not loaded.training


def test_another_base_of_the_same_shape_is_refused(tmp_path: Path) -> None:
    folder, name = tmp_path / "adapter", "blocks.1.ffn.net.2.weight"
    model = trained(toy.base())
    save_adapter(model, folder, base_name="owner/base")
    load_adapter(toy.bfloat16(toy.base()), folder)
    other = toy.base()
    with torch.no_grad():
        other.state_dict()[name][0, 0] += 0.1
    with pytest.raises(ModelError, match=r"adapter was trained on owner/base \(\w{12}\.\.\.\), not on this base \("):
        load_adapter(other, folder)
    assert name in model.base_state_dict().keys() == toy.base().state_dict().keys()


def test_holds_the_adapter_and_nothing_of_the_base(tmp_path: Path) -> None:
    model = trained()
    save_adapter(model, tmp_path / "adapter", base_name="owner/base", pipeline={"patch_px": 64})
    assert {file.name for file in tmp_path.rglob("*")} == {
        "adapter",
        "config.json",
        "adapter.safetensors",
        LORA,
    }
    assert load_file(tmp_path / "adapter" / "adapter.safetensors").keys() == model.adapter_state_dict().keys()
    assert all(".lora_" in name for name in load_file(tmp_path / "adapter" / LORA))
    assert json.loads((tmp_path / "adapter" / "config.json").read_text()) == {
        "_class_name": "PatchVSRTransformer3DModel",
        "base": "owner/base",
        "base_sha256": base_digest(model),
        "lora": True,
        "condition_channels": toy.CONDITION_CHANNELS,
        "num_branch_blocks": 2,
        "branch_input": "condition",
        "prompt_length": toy.PROMPT_LENGTH,
        "pipeline": {"patch_px": 64},
    }


def test_large_adapters_are_sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_SHARD_SIZE", "100KB")
    model = trained()
    save_adapter(model, tmp_path / "adapter")
    shards = sorted(file.name for file in tmp_path.rglob("adapter-*.safetensors"))
    assert len(shards) > 1
    index = json.loads((tmp_path / "adapter" / "adapter.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == shards
    assert torch.equal(velocity(load_adapter(toy.base(), tmp_path / "adapter")), velocity(model))


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    save_adapter(trained(rank=2), folder)
    (tmp_path / ".adapter.partial").mkdir()
    (tmp_path / ".adapter.partial" / "left over").touch()  # by a save that was killed
    with pytest.raises(ModelError, match="exists"):
        save_adapter(trained(rank=0), folder)
    assert (folder / LORA).exists()
    save_adapter(trained(rank=0), folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert {file.name for file in folder.iterdir()} == {"config.json", "adapter.safetensors"}


def test_a_failed_save_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    model = trained(rank=0)
    save_adapter(model, folder)
    with pytest.raises(NotImplementedError, match="meta tensor"):
        save_adapter(model.to("meta"), folder, overwrite=True)
    load_adapter(toy.base(), folder)


def refused(folder: Path, message: str, base_layers: int = 4) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_adapter(toy.base(num_layers=base_layers), folder)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_missing_incomplete_or_of_another_shape(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    refused(folder, "holds no adapter")
    folder.mkdir()
    refused(folder, "holds no adapter")

    save_adapter(trained(), folder, overwrite=True)
    refused(folder, "does not fit the base: blocks.3", base_layers=3)
    file = folder / "adapter.safetensors"
    whole = load_file(file)
    save_file({name: t for name, t in whole.items() if name != "prompt_embeds"}, file)
    refused(folder, r"prompt_embeds is none, needed is \(1, 3, 8\)")
    save_file(whole | {"prompt_embeds": torch.zeros(1, 3, 9)}, file)
    refused(folder, r"prompt_embeds is \(1, 3, 9\), needed is \(1, 3, 8\)")
    file.write_bytes(b"cut off")
    refused(folder, "holds no adapter")
    file.unlink()
    refused(folder, "is none, needed is")

    save_adapter(trained(), folder, overwrite=True)
    (folder / LORA).unlink()
    refused(folder, f"holds no usable {LORA}")
    (folder / LORA).write_bytes(b"cut off")
    refused(folder, f"holds no usable {LORA}")
    config = json.loads((folder / "config.json").read_text())
    for broken in ({}, [], config | {"branch_input": 3}, config | {"num_branch_blocks": "two"}):
        (folder / "config.json").write_text(json.dumps(broken))
        refused(folder, "adapter")
