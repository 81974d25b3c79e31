"""What a run does before its first step: footage is packed once, whole, by one of its processes."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import command
import pytest
import toy
from forked_command import Forked

from patchvsr.errors import InputError
from patchvsr.training import packing, run
from patchvsr.training.checkpoint import checkpoints
from patchvsr.training.clips import ClipSource
from patchvsr.training.logs import read_log
from patchvsr.training.recipes import Recipe
from patchvsr.training.run import clip_source, samples_of
from patchvsr.training.shards import Index
from patchvsr.training.stages import AdapterStage, AutoencoderStage


def test_an_interrupted_pack_is_completed_before_training(
    footage: Path, source: ClipSource, tmp_path: Path, stop_at_the_video: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        clip_source(footage, tmp_path)
    stop_at_the_video.undo()
    assert len(Index.load(tmp_path).entries) == 2
    assert clip_source(footage, tmp_path).digest == source.digest


def test_a_complete_pack_needs_no_data(source: ClipSource, tmp_path: Path) -> None:
    shutil.copytree(source.packed, tmp_path / "packed")
    assert clip_source(tmp_path / "nowhere", tmp_path / "packed").digest == source.digest
    with pytest.raises(InputError, match="no such folder or list"):
        packing.pack(tmp_path / "nowhere", tmp_path / "packed")  # by mistake; nothing is lost
    assert clip_source(tmp_path / "nowhere", tmp_path / "packed").digest == source.digest


def test_one_of_several_packs(
    footage: Path, source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, packs, all_have_looked, is_packed = [], [], threading.Event(), run._is_packed

    def look(packed: Path) -> bool:
        found = is_packed(packed)
        looks.append(threading.get_ident())
        if len(set(looks)) == 3:
            all_have_looked.set()
        return found

    def pack(data: Path, packed: Path) -> None:
        packs.append(data)
        assert all_have_looked.wait(600)
        packing.pack(data, packed)

    monkeypatch.setattr(run, "_is_packed", look)
    monkeypatch.setattr(run, "pack", pack)
    with ThreadPoolExecutor(3) as pool:
        sources = list(pool.map(lambda _: clip_source(footage, tmp_path / "packed"), range(3)))
    assert {each.digest for each in sources} == {source.digest} and len(packs) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # Of 144x160 pixels: a canvas of 128 is held, one of 160, which is one draw in two, is not.
        ({"stage": "adapter", "name": "toy_adapter", "canvas_max": 160}, "holds 5 frames of 160x160: use smaller"),
        (
            {"stage": "autoencoder", "name": "toy_autoencoder", "sizes": "64,160"},
            "holds 5 frames of 160x160: use smaller",
        ),
    ],
)
def test_footage_that_is_too_small_is_refused_before_training(
    settings: dict[str, Any], message: str, source: ClipSource
) -> None:
    recipe = Recipe(packed=str(source.packed), **({"sizes": "64", "canvas_min": 128, "canvas_max": 128} | settings))
    stage = (
        AutoencoderStage(recipe, toy.autoencoder())
        if recipe.stage == "autoencoder"
        else AdapterStage(recipe, toy.autoencoder(), toy.transformer())
    )
    with pytest.raises(InputError, match=message):
        samples_of(recipe, stage)
    samples_of(replace(recipe, canvas_max=128, sizes="64"), stage)


def words(source: ClipSource, output: Path, **settings: Any) -> list[str]:
    """`patchvsr train` on one small clip a step, whose first line says that it has begun."""
    fields = dict(packed=source.packed, output=output, batch_size=1, workers=0, log_every=1, steps=1000)
    fields |= dict(precision="fp32") | settings  # of bf16 it would warn on some processors
    return ["train", "smoke_restorer", *(word for name in fields for word in ("--set", f"{name}={fields[name]}"))]


@pytest.mark.slow
def test_an_interrupted_training_says_so_and_has_a_checkpoint(
    footage: Path, source: ClipSource, tmp_path: Path
) -> None:
    settings = dict(data=footage, packed=tmp_path / "packed", checkpoint_every=1000)
    with Forked(*words(source, tmp_path, **settings), cwd=tmp_path) as process:
        lines = [process.stderr.readline().decode() for _ in range(3)]
        assert lines[0].startswith("packing 4 files of ")  # which can take an hour
        assert lines[1].startswith("skipped broken.mp4: ") and lines[2].startswith("step 1/1000")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130  # or a script would take the next stage to be due
    assert (
        said.decode().splitlines()[-1] == "interrupted: run the same command again to resume from the last checkpoint"
    )
    assert len(checkpoints(tmp_path / "smoke_restorer")) == 1


def test_says_how_far_it_has_come(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patchvsr: Callable[..., command.Done]
) -> None:
    monkeypatch.chdir(tmp_path)  # not where footage may lie
    newest = tmp_path / "smoke_restorer" / "checkpoints" / "step-000002"
    for _ in ("trained", "finished before"):
        done = patchvsr(*words(source, tmp_path, steps=2, log_every=100))
        assert done.returncode == 0 and done.stderr.splitlines()[-1] == f"{newest}: 2 of 2 steps"
    assert [event["step"] for event in read_log(tmp_path / "smoke_restorer")] == [2]  # the last step is always logged


def test_a_training_that_explodes_says_so_in_one_line(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patchvsr: Callable[..., command.Done]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = patchvsr(*words(source, tmp_path, learning_rate="1e30", warmup_steps=0))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("step ")]
    assert len(lines) == 1 and lines[0].startswith("patchvsr: smoke_restorer step ") and "learning_rate" in lines[0]
