"""Trained weights as a model folder that `PatchVSRPipeline.from_pretrained` and `--model` read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from patchvsr import __version__
from patchvsr.errors import OutputError
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.recipes import RECIPES, Recipe
from patchvsr.training.stages import trained_modules
from patchvsr.training.trainer import STATE

MAX_SHARD_SIZE = "15MB"  # hosts of source code refuse large files


def export(recipe: Recipe, output: Path, *, num_inference_steps: int = 1, validation: Path | None = None) -> None:
    """Writes bfloat16 safetensors and `provenance.json`; raises OutputError where `output` exists already.

    `num_inference_steps` becomes the model's default: the number that does best. `validation` is a `quality.json` of
    benchmarks/quality.py, whose mean scores go into the provenance.
    """
    if output.exists():
        raise OutputError(f"{output} exists: choose another folder")
    codec, transformer = trained_modules(recipe)
    _halve(transformer, keep=transformer._keep_in_fp32_modules)
    _halve(codec)
    pipeline = PatchVSRPipeline(transformer, codec, num_inference_steps=num_inference_steps)
    temporary = output.with_name(f".{output.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary, max_shard_size=MAX_SHARD_SIZE)
    (temporary / "provenance.json").write_text(json.dumps(_provenance(recipe, validation), indent=1) + "\n")
    temporary.rename(output)


def _halve(module: nn.Module, keep: Sequence[str] = ()) -> None:
    """To bfloat16, except the few layers that diffusers holds in float32 (norms, time embedding)."""
    for name, parameter in module.named_parameters():
        if not any(part in keep for part in name.split(".")):
            parameter.data = parameter.data.to(torch.bfloat16)


def _provenance(last: Recipe, validation: Path | None) -> dict[str, object]:
    """What the weights were made from: every stage's recipe, steps, time and data, read from its run."""
    stages = {}
    for name in RECIPES:
        run = Path(last.output) / name
        if (run / "checkpoint" / STATE).exists():
            state = json.loads((run / "checkpoint" / STATE).read_text())
            stages[name] = {
                "steps": state["step"],
                "minutes": round(_seconds(run / "log.jsonl") / 60, 1),
                "recipe": state["recipe"],
            }
    data = json.loads((Path(last.output) / last.name / "checkpoint" / STATE).read_text())["data"]
    scores = json.loads(validation.read_text())["mean"] if validation else None
    return {"patchvsr": __version__, "data_sha256": data, "stages": stages, "validation": scores}


def _seconds(log: Path) -> float:
    """Training time, from the log's lines: each covers the steps since the one before."""
    seconds, last_step = 0.0, 0
    for line in log.read_text().splitlines():
        event = json.loads(line)
        seconds += event["seconds_per_step"] * max(0, event["step"] - last_step)
        last_step = event["step"]
    return seconds
