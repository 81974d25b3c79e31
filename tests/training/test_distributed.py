"""Several processes take the steps that one takes, whether each holds the model or a part of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import forking
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore
from two_processes import STAGES, build, one_of_two, recipe

from patchvsr.training.checkpoint import last_checkpoint
from patchvsr.training.clips import ClipSource
from patchvsr.training.logs import read_log
from patchvsr.training.packing import pack
from patchvsr.training.samples import Samples
from patchvsr.training.trainer import train


@pytest.fixture(scope="module")
def packed(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video alone, which validation can use as well."""
    folder = tmp_path_factory.mktemp("video")
    (folder / "data").mkdir()
    shutil.copy(footage / "video.mkv", folder / "data")
    pack(folder / "data", folder / "packed")
    return folder / "packed"


@pytest.fixture(scope="module")
def alone(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, batches twice as large."""
    output, source = tmp_path_factory.mktemp("alone"), ClipSource(packed)
    for name in STAGES:
        chosen = recipe(name, output, batch_size=4)
        stage = build(chosen)
        list(train(chosen, stage, Samples(stage.make_sample, source, chosen), data_digest=source.digest))
    return output


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["copies", "shards"])
def test_two_processes_are_one(mode: str, alone: Path, packed: Path, tmp_path: Path) -> None:
    # As torchrun does: the port is the one that a store has got, so that no two tests choose the same.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = [forking.start(one_of_two, number, store.port, mode, packed, tmp_path) for number in range(2)]
    assert [forking.ended(process) for process in processes] == [0, 0]
    for name in STAGES:
        ours, theirs = (last_checkpoint(output / f"mini_{name}") for output in (tmp_path, alone))
        assert json.loads((ours / "state.json").read_text())["step"] == 2
        one, two = (load_file(folder / "weights.safetensors") for folder in (ours, theirs))
        assert one.keys() == two.keys()
        # Adam's first steps are of the learning rate's size, whatever the gradient's: signs of tiny ones may differ.
        different = sum((~torch.isclose(one[key], two[key], atol=1e-5, rtol=1e-4)).sum().item() for key in one)
        assert different < 0.01 * sum(value.numel() for value in one.values())
        first, second = (read_log(output / f"mini_{name}")[0]["losses"] for output in (tmp_path, alone))
        assert first == pytest.approx(second, rel=1e-3)  # of the whole batch, not of the first process's part
    scores = [event["validation"] for event in read_log(tmp_path / "mini_adapter") if "validation" in event]
    assert len(scores) == 1 and "bicubic LQ, steps 1" in scores[0]
