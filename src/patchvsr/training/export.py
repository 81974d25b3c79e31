"""Trained weights as a model folder that `PatchVSRPipeline.from_pretrained` and `--model` read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from patchvsr import __version__
from patchvsr.errors import OutputError
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.recipes import RECIPES, Recipe
from patchvsr.training.stages import trained_modules

MAX_SHARD_SIZE = "15MB"  # hosts of source code refuse large files


def export(recipe: Recipe, output: Path) -> None:
    """Writes bfloat16 safetensors and `provenance.json`; raises OutputError where `output` exists already."""
    if output.exists():
        raise OutputError(f"{output} exists: choose another folder")
    codec, transformer = trained_modules(recipe)
    pipeline = PatchVSRPipeline(transformer.to(torch.bfloat16), codec.to(torch.bfloat16))
    temporary = output.with_name(f".{output.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary, max_shard_size=MAX_SHARD_SIZE)
    (temporary / "provenance.json").write_text(json.dumps(_provenance(recipe), indent=1) + "\n")
    temporary.rename(output)


def _provenance(last: Recipe) -> dict[str, object]:
    """What the weights were made from: every stage's recipe, steps and data, read from its checkpoint."""
    stages = {}
    for name in RECIPES:
        state_file = Path(last.output) / name / "checkpoint" / "state.json"
        if state_file.exists():
            state = json.loads(state_file.read_text())
            stages[name] = {
                "steps": state["step"],
                "minutes": state.get("minutes"),
                "recipe": state["recipe"],
            }
    data = json.loads((Path(last.output) / last.name / "checkpoint" / "state.json").read_text())["data"]
    return {"patchvsr": __version__, "data_sha256": data, "stages": stages}
