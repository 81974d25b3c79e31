"""A model folder on the Hub: what is checked first, what is sent, and that it comes back. The Hub is a stand-in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import command
import pytest
import standin_hub
import toy
import toy_wan
from command import Done
from huggingface_hub import constants

from patchvsr.errors import ModelError, OutputError
from patchvsr.hub.inventory import take_inventory
from patchvsr.hub.push import push
from patchvsr.models.registry import MODEL_FILES, download
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.export import write_model

NAME = "owner/toy"
PROVENANCE = {"patchvsr": "0.2.0", "data_sha256": "72a19e29", "stages": {}, "validation": None}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "toy"
    pipeline = toy.pipeline()
    write_model(
        pipeline.transformer, pipeline.vae, folder, base="mini", provenance=PROVENANCE, patch_px=toy.PATCH_PX,
        patch_frames=5,
    )  # fmt: skip
    return folder


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "toy")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[standin_hub.Hub]:
    """What HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HUB_DISABLE_XET would set in a new process."""
    with standin_hub.serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", standin_hub.TOKEN)
        yield hub


def published(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_model_comes_back_as_it_was(model: Path, hub: standin_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = push(model, NAME)
    assert pushed.sent and pushed.private and pushed.url == f"{hub.url}/{NAME}"
    assert hub.repositories[NAME].private
    assert {path: hub.files(NAME)[path] for path in published(model)} == published(model)
    assert len(hub.repositories[NAME].commits) == 2  # the one it was created with, and one with everything

    restored = PatchVSRPipeline.from_pretrained(NAME)
    restored.set_progress_bar_config(disable=True)
    expected = PatchVSRPipeline.from_pretrained(model)
    expected.set_progress_bar_config(disable=True)
    clip = toy.video(5, 16, 16)
    assert (restored(clip).frames == expected(clip).frames).all()

    # Nothing is downloaded twice, and without network the same model is used.
    before = len(hub.requests)
    folder = download(NAME, MODEL_FILES)
    assert not [request for request in hub.requests[before:] if "/resolve/" in request]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.requests)
    assert download(NAME, MODEL_FILES) == folder
    (entry,) = (entry for entry in take_inventory().entries if entry.name == NAME)
    assert (entry.kind, entry.offline, entry.revision, entry.folder) == ("model", True, pushed.revision, folder)
    assert entry.size_bytes == sum(map(len, published(model).values()))
    with pytest.raises(OutputError, match="offline"):
        push(model, NAME)
    assert len(hub.requests) == before


def test_nothing_is_sent_twice(model: Path, hub: standin_hub.Hub) -> None:
    first = push(model, NAME)
    hub.sent.clear()
    again = push(model, NAME)
    assert (again.sent, again.revision) == (False, first.revision)
    assert not hub.sent and len(hub.repositories[NAME].commits) == 2

    card = model / "README.md"
    card.write_text(card.read_text() + "\nIt was trained on our own footage.\n")
    changed = push(model, NAME)
    assert changed.sent and changed.revision != first.revision
    assert hub.sent == ["README.md"]


def test_an_interrupted_push_goes_on(model: Path, hub: standin_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(standin_hub._Handler, "_commit", lambda self, name: self.hub.no_such_attribute)
        with pytest.raises(OutputError, match="cannot push to 'owner/toy'"):
            push(model, NAME)
    assert set(hub.files(NAME)) == {".gitattributes"}  # nothing of the model is seen
    weights = len(hub.sent)
    assert weights and push(model, NAME).sent
    assert not [sent for sent in hub.sent[weights:] if sent in hub.large]  # its weights had arrived


def card_with(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "README.md").write_text(text) and None


def provenance_without(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "provenance.json"
        file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != name}))

    return change


def damage(folder: Path) -> None:
    (file,) = (folder / "vae").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


WEIGHTS = "diffusion_pytorch_model.safetensors"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "vae" / WEIGHTS).unlink(), r"vae/diffusion_pytorch_model\.safetensors is missing"),
    "no part": (lambda f: shutil.rmtree(f / "scheduler"), r"scheduler/config\.json is missing"),
    "no card": (lambda f: (f / "README.md").unlink(), r"README\.md is missing"),
    "no licence": (card_with("---\ntags: [video]\n---\nA model.\n"), "names no licence"),
    "no metadata": (card_with("A model.\n"), "names no licence"),
    "bad metadata": (card_with("---\nlicense: [\n---\nA model.\n"), r"README\.md cannot be read"),
    "own licence": (card_with("---\nlicense: other\n---\nA model.\n"), "add license_name and license_link"),
    "empty card": (card_with("---\nlicense: mit\n---\n"), "describes nothing"),
    "no provenance": (lambda f: (f / "provenance.json").unlink(), r"provenance\.json is missing"),
    "no data digest": (provenance_without("data_sha256"), "no digest of the training data"),
    "no digests": (provenance_without("weights_sha256"), "no digests of the weights"),
    "damaged": (damage, r"vae/.*\.safetensors is damaged or was changed"),
    "other weights": (lambda f: shutil.copy(f / "vae" / WEIGHTS, f / "vae" / "more.safetensors"), r"more.* is not in"),
    "no model": (lambda f: (f / "model_index.json").unlink(), "is no model folder|holds no"),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_folder_with_a_fault_is_refused_before_anything_is_sent(
    change: Callable[[Path], object], said: str, model: Path, hub: standin_hub.Hub
) -> None:
    change(model)
    with pytest.raises(ModelError, match=said) as caught:
        push(model, NAME)
    assert "\n" not in str(caught.value)
    assert not hub.requests


def test_all_faults_are_named_at_once(model: Path, hub: standin_hub.Hub) -> None:
    (model / "README.md").unlink()
    (model / "provenance.json").unlink()
    with pytest.raises(ModelError, match=r"README\.md is missing.*; provenance\.json is missing"):
        push(model, NAME)


def test_an_adapter_must_name_a_base_that_others_can_load(hub: standin_hub.Hub, tmp_path: Path) -> None:
    base = toy_wan.save_base(tmp_path / "base")
    autoencoder, folder = toy_wan.autoencoder(), tmp_path / "adapter"
    transformer = toy.trained(toy.transformer_of(autoencoder))
    write_model(transformer, autoencoder.requires_grad_(False), folder, base=str(base), provenance=PROVENANCE)
    with pytest.raises(ModelError, match=r"names the base .*base, which others cannot load"):
        push(folder, NAME)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"base": "wan2.1-1.3b"}))
    assert push(folder, NAME).sent

    download(NAME, MODEL_FILES)
    (entry,) = (entry for entry in take_inventory().entries if entry.name == NAME)
    assert (entry.kind, entry.offline, entry.missing) == ("adapter", False, "its base wan2.1-1.3b: not downloaded")


@pytest.mark.parametrize("name", ["toy", "owner/toy/more", "../toy", "own er/toy"])
def test_a_name_that_is_none_is_refused(name: str, model: Path, hub: standin_hub.Hub) -> None:
    with pytest.raises(ModelError, match="give OWNER/NAME"):
        push(model, name)
    assert not hub.requests


def test_a_folder_here_may_have_the_name(
    model: Path, hub: standin_hub.Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / NAME).parent.mkdir()
    model.rename(tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert push(NAME, NAME).sent


def test_who_can_see_a_model_is_decided_once(model: Path, hub: standin_hub.Hub) -> None:
    push(model, "owner/open", public=True)
    assert not hub.repositories["owner/open"].private
    with pytest.raises(OutputError, match="exists and is public: give --public"):
        push(model, "owner/open")
    push(model, NAME)
    with pytest.raises(OutputError, match="exists and is private: make it public in its settings"):
        push(model, NAME, public=True)


def test_other_weights_under_the_name_are_not_mixed_in_and_not_deleted(model: Path, hub: standin_hub.Hub) -> None:
    there = hub.add(NAME, {"adapter.safetensors": b"of another model", "picture.png": b""})
    with pytest.raises(OutputError, match=r"also holds adapter\.safetensors"):
        push(model, NAME)
    assert len(there.commits) == 1


def test_what_is_no_part_of_a_model_stays_here(model: Path, hub: standin_hub.Hub) -> None:
    (model / "notes.txt").write_text("not for others")
    (model / "LICENSE").write_text("Apache")
    assert push(model, NAME).left_out == ("notes.txt",)
    assert "notes.txt" not in hub.files(NAME) and "LICENSE" in hub.files(NAME)


def test_without_a_login_or_with_a_wrong_one(
    model: Path, hub: standin_hub.Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(OutputError, match="a token that may write there") as caught:
        push(model, NAME)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    with pytest.raises(OutputError, match="not logged in"):
        push(model, NAME)
    assert not hub.repositories


def test_the_hub_is_out_of_reach(model: Path, hub: standin_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match="cannot push to 'owner/toy'") as caught:
        push(model, NAME)
    assert "\n" not in str(caught.value)


def test_the_commands(model: Path, hub: standin_hub.Hub, patchvsr: Callable[..., Done]) -> None:
    done = patchvsr("push", model, NAME)
    assert done.returncode == 0, done.stderr
    assert f"published as {hub.url}/{NAME} (private)" in done.stderr
    assert "nothing to send" in patchvsr("push", model, NAME).stderr
    (model / "README.md").unlink()
    refused = patchvsr("push", model, NAME)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "README.md is missing" in refused.stderr


def test_a_process_of_its_own_heeds_the_environment(
    model: Path, hub: standin_hub.Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    done = command.run("push", model, NAME)
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert f"published as {hub.url}/{NAME}" in done.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = command.run("push", model, NAME)
    assert done.returncode == 2 and "HF_HUB_OFFLINE" in done.stderr
