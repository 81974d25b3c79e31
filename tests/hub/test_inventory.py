"""What `patchvsr models` lists, from a cache laid out by hand as huggingface_hub does it; nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Done
from huggingface_hub import constants

from patchvsr import __version__
from patchvsr.hub.inventory import Entry, take_inventory
from patchvsr.models.registry import REGISTRY, bundled_models

REVISION = "0123456789abcdef0123456789abcdef01234567"
BASE = {
    "transformer/config.json": b"{}",
    "transformer/a.safetensors": b"weights",
    "transformer/w.safetensors.index.json": b'{"weight_map": {"x": "a.safetensors"}}',
    "vae/config.json": b"{}",
    "vae/w.safetensors": b"more weights",
}
ADAPTER = {
    "config.json": b'{"_class_name": "PatchVSRTransformer3DModel", "base": "wan2.1-1.3b", "lora": false}',
    "adapter.safetensors": b"adapter",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache: Path, name: str, files: dict[str, bytes], *, ref: str = "main", revision: str = REVISION) -> None:
    folder = cache / f"models--{name.replace('/', '--')}"
    for path, content in files.items():
        blob = folder / "blobs" / f"{abs(hash((path, content))):x}"
        link = folder / "snapshots" / revision / path
        for file in (blob, link):
            file.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(blob)
    (folder / "refs").mkdir()
    (folder / "refs" / ref).write_text(revision)


KNOWN = [*bundled_models(), *(name for name in REGISTRY if name not in bundled_models())]


def entries() -> dict[str, Entry]:
    return {entry.name: entry for entry in take_inventory().entries}


def test_without_a_cache_there_are_the_bundled_model_and_the_known_bases() -> None:
    found = entries()
    assert list(found) == KNOWN
    assert (found["mini"].kind, found["mini"].revision, found["mini"].offline) == ("bundled", __version__, True)
    assert found["mini"].size_bytes == sum(
        file.stat().st_size for file in found["mini"].folder.rglob("*") if file.is_file()
    )
    base = found["wan2.2-5b"]
    assert (base.kind, base.size_bytes, base.revision, base.missing) == ("base", None, None, "not downloaded")


def test_a_downloaded_base_serves_its_adapter_without_network(cache: Path) -> None:
    put(cache, "me/adapter", ADAPTER)
    assert entries()["me/adapter"].missing == "its base wan2.1-1.3b: not downloaded"
    put(cache, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", BASE)
    found = entries()
    for name, files in {"me/adapter": ADAPTER, "wan2.1-1.3b": BASE}.items():
        assert found[name].offline and found[name].revision == REVISION
        assert found[name].size_bytes == sum(map(len, files.values()))
    assert found["me/adapter"].kind == "adapter"


@pytest.mark.parametrize("lost", ["transformer/a.safetensors", "vae/w.safetensors", "vae/config.json"])
def test_a_base_that_is_not_whole_is_of_no_use_without_network(cache: Path, lost: str) -> None:
    put(cache, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", {path: data for path, data in BASE.items() if path != lost})
    put(cache, "me/adapter", ADAPTER)
    said = lost.replace("w.safetensors", "*.safetensors")
    assert entries()["wan2.1-1.3b"].missing == f"without {said}"
    assert entries()["me/adapter"].missing == f"its base wan2.1-1.3b: without {said}"


def test_an_adapter_with_its_own_autoencoder_needs_less_of_its_base(cache: Path) -> None:
    put(cache, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", {path: data for path, data in BASE.items() if path[0] == "t"})
    put(cache, "me/adapter", ADAPTER | {path: data for path, data in BASE.items() if path[0] == "v"})
    assert entries()["me/adapter"].offline
    assert not entries()["wan2.1-1.3b"].offline


def test_an_adapter_with_a_light_decoder_needs_all_of_both(cache: Path) -> None:
    """The base's autoencoder still encodes."""
    decoder = {"decoder/config.json": b"{}", "decoder/w.safetensors": b"light"}
    put(cache, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", {path: data for path, data in BASE.items() if path[0] == "t"})
    put(cache, "me/adapter", ADAPTER | decoder)
    put(cache, "me/cut_off", ADAPTER | {"decoder/config.json": b"{}"})
    assert entries()["me/adapter"].missing == "its base wan2.1-1.3b: without vae/config.json"
    assert entries()["me/cut_off"].missing == "without decoder/*.safetensors"


def test_models_of_others_are_not_listed(cache: Path) -> None:
    put(cache, "them/text", {"config.json": b'{"_class_name": "TextModel"}', "model.safetensors": b""})
    put(cache, "them/pipeline", {"model_index.json": b'{"_class_name": "WanPipeline"}'})
    put(cache, "them/broken", {"config.json": b"{"})
    put(cache, "me/of_a_branch", ADAPTER, ref="experiment")  # which no name stands for
    assert list(entries()) == KNOWN


def test_a_damaged_folder_is_told_and_left_alone(cache: Path, patchvsr: Callable[..., Done]) -> None:
    (cache / "models--me--damaged").mkdir(parents=True)
    put(cache, "me/adapter", ADAPTER)
    done = patchvsr("models")
    assert done.returncode == 0
    assert "models--me--damaged" in done.stderr
    assert "me/adapter" in done.stdout and REVISION[:12] in done.stdout
    assert (cache / "models--me--damaged").is_dir()


def test_json(cache: Path, patchvsr: Callable[..., Done]) -> None:
    put(cache, "me/adapter", ADAPTER)
    listed = {entry["name"]: entry for entry in json.loads(patchvsr("models", "--json").stdout)}
    assert listed["mini"]["offline"] is True
    folder = cache / "models--me--adapter" / "snapshots" / REVISION
    assert listed["me/adapter"] == {
        "name": "me/adapter",
        "kind": "adapter",
        "size_bytes": sum(map(len, ADAPTER.values())),
        "revision": REVISION,
        "folder": str(folder),
        "missing": "its base wan2.1-1.3b: not downloaded",
        "offline": False,
    }
