"""Where the weights are and which kernels compute, as the settings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_wan

from patchvsr import loading
from patchvsr.errors import SettingsError
from patchvsr.jobs.identity import model_identity
from patchvsr.loading import load_pipeline, offload_layers
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.settings import RestoreSettings


@pytest.fixture
def model(tmp_path: Path) -> str:
    toy.pipeline(num_inference_steps=1).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def load(model: str, **settings: Any) -> Any:
    return load_pipeline(RestoreSettings(model=model, dtype="float32", **settings))


@torch.no_grad()
def test_every_layer_is_loaded_when_it_is_used(tmp_path: Path) -> None:
    """From a folder here, as a CPU has no other memory; what is not loaded is NaN."""
    transformer = toy.trained(toy.transformer())
    noisy, timesteps, prompt = toy.noisy_latents(), toy.timesteps(), transformer.prompt_embeds.data.clone()
    features = transformer.encode_conditions(toy.conditions())
    expected = transformer(noisy, timesteps, features=features).sample
    offload_layers(transformer, torch.device("cpu"), disk_folder=tmp_path)
    for parameter in transformer.parameters():
        parameter.fill_(torch.nan)
    transformer.prompt_embeds.data = prompt  # it belongs to no layer, and stays on the host
    again = transformer.encode_conditions(toy.conditions())
    assert all(torch.equal(one, other) for one, other in zip(again.patch, features.patch, strict=True))
    assert torch.equal(again.global_tokens, features.global_tokens)
    result = transformer(noisy, timesteps, prompt.repeat(len(noisy), 1, 1), features=again).sample
    assert torch.equal(result, expected)


KEEPS = """
from pathlib import Path
from patchvsr.allocator import keep_freed_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256

keep_freed_memory(32 << 20)
before = resident_mib()
small = [bytearray(b"1") * (16 << 20) for _ in range(4)]
del small
kept = resident_mib()
large = bytearray(b"1") * (64 << 20)
del large
print(kept - before, resident_mib() - kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")
def test_freed_memory_is_kept_up_to_a_size() -> None:
    """In a process of its own: it cannot be undone."""
    done = subprocess.run([sys.executable, "-c", KEEPS], capture_output=True, text=True, check=True)
    kept, kept_of_large = map(int, done.stdout.split())
    assert kept > 60 and kept_of_large < 4


def test_only_small_blocks_are_kept_for_wans_autoencoder(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[int, ...]] = []
    monkeypatch.setattr(loading, "keep_freed_memory", lambda *largest: kept.append(largest))
    load(model)
    autoencoder = toy_wan.autoencoder()
    transformer = toy.transformer_of(autoencoder)
    PatchVSRPipeline(transformer, autoencoder, patch_px=64, patch_frames=5).save_pretrained(tmp_path / "wan")
    load(str(tmp_path / "wan"))
    assert kept == [(), (), (loading.WAN_KEEPS_BYTES,)]


def test_a_cpu_has_nothing_to_offload(model: str) -> None:
    with pytest.raises(SettingsError, match="cpu_offload is for devices with memory of their own"):
        load(model, cpu_offload=True, device="cpu")


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_weights_of_blocks_are_stored_in_eight_bits(model: str, name: str) -> None:
    """They are rounded once: the result is that of a model whose blocks have the rounded weights."""
    storage, video = getattr(torch, name), toy.video(5, 16, 16)
    usual, stored = load(model), load(model, storage_dtype=name)
    in_blocks, elsewhere = set(), set()
    rounded = usual.transformer.state_dict()
    for key, weight in stored.transformer.state_dict().items():
        (in_blocks if weight.dtype == storage else elsewhere).add(key)
        assert torch.equal(weight.float(), rounded[key].to(weight.dtype).float())
        rounded[key] = weight.float()
    assert {key.split(".")[0] for key in in_blocks} == {"blocks", "branch_blocks"}
    assert {key.split(".")[0] for key in elsewhere} > {"prompt_embeds", "condition_embedder", "micro_embedder"}
    assert not any("norm" in key for key in in_blocks)
    expected, result = usual(video).frames, stored(video).frames
    assert not torch.equal(result, expected)
    usual.transformer.load_state_dict(rounded)
    assert torch.equal(usual(video).frames, result)
    assert stored.transformer.dtype == torch.float32
    assert model_identity(stored)["sha256"] != model_identity(load(model))["sha256"]


def test_attention_kernels_are_those_of_diffusers(model: str) -> None:
    video = toy.video(5, 16, 16)
    usual, named = (load(model, attention_backend=name)(video).frames for name in (None, "_native_math"))
    torch.testing.assert_close(named, usual, rtol=0, atol=1e-4)
    with pytest.raises(SettingsError, match="attention backend 'fastest' cannot be used: "):
        load(model, attention_backend="fastest")


def test_blocks_are_compiled_whole(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a break in the graph; with the compiler that leaves operations as they are, the result is the same."""
    compile_blocks = PatchVSRTransformer3DModel.compile_repeated_blocks
    monkeypatch.setattr(
        PatchVSRTransformer3DModel,
        "compile_repeated_blocks",
        lambda self: compile_blocks(self, backend="eager", fullgraph=True),
    )
    video = toy.video(5, 16, 16)
    usual, compiled = load(model), load(model, compile=True)
    assert torch.equal(compiled(video).frames, usual(video).frames)
    assert compiled.transformer.blocks[0]._compiled_call_impl and not usual.transformer.blocks[0]._compiled_call_impl
