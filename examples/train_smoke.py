"""Smoke test for `make train-smoke`: train every stage of the bundled model from scratch on generated clips.

python examples/train_smoke.py [FOLDER]

Prints the loss of each stage before and after training, on the same samples. Interrupts and resumes one stage, and
compares the weights with those of an uninterrupted run. Exports the model and upscales a clip with it. Takes a few
minutes on two CPU cores. The model is not trained enough to be useful: see `docs/train.md` for real training.
"""

import subprocess
import sys
import time
import warnings
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import load_file

from patchvsr.compute import default_dtype
from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.media.lossless import LosslessWriter
from patchvsr.pixels.size import Size
from patchvsr.training.build import build_stage, load_average
from patchvsr.training.checkpoint import last_checkpoint
from patchvsr.training.recipes import Recipe, resolve
from patchvsr.training.run import run_recipe, samples_of
from patchvsr.training.samples import batches
from patchvsr.training.stages import Stage

STAGES = ("restorer", "autoencoder", "base", "adapter", "distill")
INTERRUPTED = "adapter"
MEASURED_BATCHES = 6
CLIPS = {"astronaut": 40, "coffee": 40, "chelsea": 40, "rocket": 30}  # frames
CLIP_SIZE = Size(320, 256)


def main(folder: Path) -> None:
    if folder.exists():
        sys.exit(f"{folder} exists: remove it, or give another folder")
    started = time.monotonic()
    warnings.filterwarnings("ignore", message="Mismatch dtype")  # torch, on norms in float32 under autocast
    make_clips(folder / "data")
    for stage in STAGES:
        recipe = recipe_of(stage, folder, folder / "run")
        first = loss(recipe, build_stage(recipe))
        train(recipe)
        trained = build_stage(recipe)
        load_average(recipe.run, trained)
        last = loss(recipe, trained)
        print(f"{stage}: loss {first:.4f} before {recipe.steps} steps, {last:.4f} after", flush=True)
        if last >= first:
            sys.exit(f"the loss of stage {stage} did not fall")
        if stage == INTERRUPTED:
            check_resume(folder, stage)
    patchvsr("export", "smoke_distill", "-o", folder / "model", "--set", f"output={folder / 'run'}")
    patchvsr("upscale", folder / "data" / "coffee.mkv", "-o", folder / "upscaled.mkv", "--model", folder / "model",
             "-s", "2", "--end", "0.4")  # fmt: skip
    print(f"{folder / 'upscaled.mkv'} was made with these weights; {time.monotonic() - started:.0f} s in all")


def make_clips(data: Path) -> None:
    """Write lossless clips of camera moves over photos of scikit-image."""
    data.mkdir(parents=True)
    for name, frames in CLIPS.items():
        with LosslessWriter(data / f"{name}.mkv") as writer:
            for index, frame in enumerate(camera_move(load_photo(name), CLIP_SIZE, frames)):
                writer.write(frame, Fraction(index, 24))


def recipe_of(stage: str, folder: Path, output: Path) -> Recipe:
    places = {"data": folder / "data", "packed": folder / "packed", "output": output}
    precision = "bf16" if default_dtype("cpu") == torch.bfloat16 else "fp32"
    return resolve(f"smoke_{stage}", {name: str(place) for name, place in places.items()} | {"precision": precision})


def train(recipe: Recipe, *, stop_after: int | None = None) -> None:
    """Train a recipe; `stop_after` abandons the run after that step, like a kill."""
    for event in run_recipe(recipe):
        if event.step == stop_after:
            break


@torch.no_grad()
def loss(recipe: Recipe, stage: Stage) -> float:
    """Return the mean loss over the first batches of the run."""
    first = islice(batches(samples_of(recipe, stage), recipe, 0), MEASURED_BATCHES)
    return fmean(sum(value.item() for value in stage(batch).values()) for batch in first)


def check_resume(folder: Path, stage: str) -> None:
    """Train the stage again with an interruption; the weights must be equal bit for bit."""
    recipe = recipe_of(stage, folder, folder / "resumed")
    for done in STAGES[: STAGES.index(stage)]:
        recipe.run_of(done).parent.mkdir(exist_ok=True)
        recipe.run_of(done).symlink_to((folder / "run" / f"smoke_{done}").resolve())
    middle = recipe.steps // 2 + 1
    train(recipe, stop_after=middle)
    train(recipe)
    whole, resumed = (
        load_file(last_checkpoint(run) / "weights.safetensors") for run in (folder / "run" / recipe.name, recipe.run)
    )
    if whole.keys() != resumed.keys() or not all(whole[name].equal(resumed[name]) for name in whole):
        sys.exit(f"stage {stage} was stopped and resumed, and its weights differ")
    print(f"{stage}: stopped after step {middle} and resumed: all {len(whole)} tensors equal", flush=True)


def patchvsr(*words: object) -> None:
    command = [str(Path(sys.executable).with_name("patchvsr")), *(str(word) for word in words)]
    print("$", *command, flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/smoke"))
    except PatchVSRError as error:
        sys.exit(str(error))
