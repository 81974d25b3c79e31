"""Model folders as version 0.1.0 wrote them: those of Wan bases are loaded to the same bytes, and saved under today's
names; those with an autoencoder that is gone are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_wan
from clips import make_video
from command import Done
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models.version_0_1 import updated_index
from patchvsr.models.wan_base.base import load_base
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.export import write_model

INDEX = "model_index.json"
# Module and class of Wan's autoencoder, then and now, and of the one that is gone, in version 0.1 and before 0.2.
WAN = ["patchvsr.models.wan_codec", "WanCodec"], ["patchvsr.models.wan_base.autoencoder", "WanAutoencoder"]
GONE = ["patchvsr.models.mini_autoencoder", "MiniAutoencoder"], ["patchvsr.models.mini.autoencoder", "MiniAutoencoder"]
PROVENANCE: dict[str, Any] = {"patchvsr": "0.1.0", "data_sha256": "", "stages": {}, "validation": None}
SMALL = {"patch_px": toy.PATCH_PX, "patch_frames": 5}


def wan_pipeline(flavour: str = "wan2.1", **settings: Any) -> PatchVSRPipeline:
    autoencoder = toy_wan.autoencoder(flavour)
    transformer = toy.randomised(toy.transformer_of(autoencoder))
    return PatchVSRPipeline(transformer, autoencoder, **(dict(num_inference_steps=2) | SMALL | settings))


def edit(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    entries = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in entries.items() if value is not None}))


def rename_autoencoder(folder: Path, class_name: str) -> None:
    (folder / "vae").rename(folder / "codec")
    edit(folder / "codec" / "config.json", _class_name=class_name)


def as_version_0_1(folder: Path, autoencoder: list[str]) -> Path:
    """Turn a pipeline that was just saved into what version 0.1.0 would have written."""
    shutil.rmtree(folder / "scheduler")
    rename_autoencoder(folder, autoencoder[1])
    edit(folder / INDEX, vae=None, scheduler=None, codec=autoencoder)
    return folder


def restore(pipeline: PatchVSRPipeline) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(toy.video(5, 16, 24), seed=3).frames


@pytest.fixture
def old(tmp_path: Path) -> Path:
    wan_pipeline().save_pretrained(tmp_path / "old")
    return as_version_0_1(tmp_path / "old", WAN[0])


@pytest.mark.parametrize("flavour", toy_wan.FLAVOURS)
def test_an_old_pipeline_gives_the_same_bytes_and_is_saved_under_todays_names(flavour: str, tmp_path: Path) -> None:
    then, now = WAN
    pipeline = wan_pipeline(flavour)
    pipeline.save_pretrained(tmp_path / "old")
    # As loaded, because Wan's layers round by where in memory their weights lie: in a file otherwise than just built.
    frames = restore(PatchVSRPipeline.from_pretrained(tmp_path / "old"))
    torch.testing.assert_close(frames, restore(pipeline), rtol=0, atol=1e-5)
    loaded = PatchVSRPipeline.from_pretrained(as_version_0_1(tmp_path / "old", then))
    assert not loaded.vae.training
    assert torch.equal(restore(loaded), frames)

    loaded.save_pretrained(tmp_path / "new")
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"transformer", "vae", "scheduler", INDEX}
    index = json.loads((tmp_path / "new" / INDEX).read_text())
    assert index["vae"] == now
    assert "codec" not in index
    assert json.loads((tmp_path / "new" / "vae" / "config.json").read_text())["_class_name"] == now[1]
    assert torch.equal(restore(PatchVSRPipeline.from_pretrained(tmp_path / "new")), frames)


def test_an_old_pipeline_keeps_the_models_defaults(tmp_path: Path) -> None:
    defaults = dict(num_inference_steps=3, joint_mode="overlap", noise_timestep=150.0)
    wan_pipeline(**defaults).save_pretrained(tmp_path)
    loaded = PatchVSRPipeline.from_pretrained(as_version_0_1(tmp_path, WAN[0]))
    assert {name: loaded.config[name] for name in (*defaults, *SMALL)} == defaults | SMALL
    assert loaded.scheduler.config.shift == 1  # version 0.1.0 knew no other


def test_an_old_pipeline_is_loaded_in_the_dtype_asked_for(old: Path) -> None:
    loaded = PatchVSRPipeline.from_pretrained(old, dtype=torch.bfloat16)
    assert loaded.transformer.dtype == loaded.vae.dtype == torch.bfloat16
    given = toy_wan.autoencoder()
    assert PatchVSRPipeline.from_pretrained(old, vae=given).vae is given


def test_an_old_adapter_brings_its_own_autoencoder(tmp_path: Path) -> None:
    base, folder = toy_wan.save_base(tmp_path / "base"), tmp_path / "model"
    transformer, _ = load_base(str(base), dtype=torch.bfloat16)
    autoencoder = toy.randomised(toy_wan.autoencoder(), std=0.03, seed=2)  # not the base's
    transformer = toy.trained(toy.transformer(transformer, condition_channels=toy_wan.LATENT_CHANNELS))
    write_model(transformer, autoencoder, folder, base=str(base), provenance=PROVENANCE, **SMALL)
    today = restore(PatchVSRPipeline.from_pretrained(folder, dtype=torch.bfloat16))

    rename_autoencoder(folder, WAN[0][1])
    loaded = PatchVSRPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    assert torch.equal(loaded.vae.decoder.conv_out.weight, autoencoder.decoder.conv_out.weight)
    assert torch.equal(restore(loaded), today)
    shutil.rmtree(folder / "codec")  # then it is the base's
    assert not torch.equal(restore(PatchVSRPipeline.from_pretrained(folder, dtype=torch.bfloat16)), today)


def test_a_current_index_is_left_alone() -> None:
    index = {"_class_name": "PatchVSRPipeline", "vae": WAN[1], "patch_px": 512}
    assert updated_index(index, "folder") == index


@pytest.mark.parametrize("before", [GONE[0], None], ids=["version 0.1", "before 0.2"])
def test_an_autoencoder_that_is_gone_is_one_clear_line(
    before: list[str] | None, tmp_path: Path, patchvsr: Callable[..., Done]
) -> None:
    folder = tmp_path / "old"
    toy.pipeline().save_pretrained(folder)
    if before:
        as_version_0_1(folder, before)
    else:
        edit(folder / INDEX, vae=GONE[1])
    make_video(tmp_path / "in.mp4", count=2)
    done = patchvsr("upscale", tmp_path / "in.mp4", "-o", tmp_path / "out.mkv", "--model", folder)
    assert done.returncode == 2
    assert re.fullmatch(
        r"patchvsr: .*old/.*\.json names the autoencoder MiniAutoencoder, which only versions up to 0\.1 have: "
        r"use patchvsr 0\.1 for this model, or train it again",
        done.stderr.splitlines()[-1],
    )
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("entry", [["patchvsr.models.fox_codec", "FoxCodec"], [None, None]], ids=["unknown", "none"])
def test_an_unknown_autoencoder_in_an_old_index_is_one_clear_line(old: Path, entry: Any) -> None:
    edit(old / INDEX, codec=entry)
    with pytest.raises(
        ModelError, match=r"the autoencoder .*: version 0\.1 had MiniAutoencoder and WanCodec"
    ) as caught:
        PatchVSRPipeline.from_pretrained(old)
    assert str(old) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["FoxCodec", None])
def test_an_unknown_autoencoder_in_an_old_folder_is_one_clear_line(old: Path, name: str | None) -> None:
    edit(old / "codec" / "config.json", _class_name=name)
    with pytest.raises(
        ModelError, match=r"codec/config\.json (names the autoencoder .*: version 0.1 had|cannot be read)"
    ):
        PatchVSRPipeline.from_pretrained(old)


BROKEN = {
    "config missing": ("config.json", None),
    "config cut": ("config.json", b'{"_class_name":'),
    "config a list": ("config.json", b"[]"),
    "weights missing": ("diffusion_pytorch_model.safetensors", None),
    "weights cut": ("diffusion_pytorch_model.safetensors", b"\x10\0\0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_incomplete_old_folder_is_one_clear_line(old: Path, name: str) -> None:
    file, data = BROKEN[name]
    (old / "codec" / file).unlink()
    if data is not None:
        (old / "codec" / file).write_bytes(data)
    with pytest.raises(ModelError, match=file.replace(".", r"\.")) as caught:
        PatchVSRPipeline.from_pretrained(old)
    assert "\n" not in str(caught.value)
