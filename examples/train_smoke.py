"""What `make train-smoke` runs: every stage of the bundled model from scratch, on clips it makes itself.

python examples/train_smoke.py [FOLDER]

Prints the losses of each stage, first against last; stops one stage in the middle and goes on, and compares the weights
with those of an uninterrupted run; exports the model and upscales a clip with it. Takes a few minutes on two CPU cores.
The model is far too young to be of use: `docs/train.md` is about real training.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

from safetensors.torch import load_file

from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.lossless import LosslessWriter
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.training.checkpoint import last_checkpoint
from patchvsr.training.recipes import resolve
from patchvsr.training.run import run_recipe

STAGES = ("codec", "base", "adapter", "distill")
INTERRUPTED = "adapter"
CLIPS = {"astronaut": 40, "coffee": 40, "chelsea": 40, "rocket": 30}  # frames
CLIP_SIZE = (256, 320)


def main(folder: Path) -> None:
    if folder.exists():
        sys.exit(f"{folder} exists: remove it, or give another folder")
    started = time.monotonic()
    make_clips(folder / "data")
    for stage in STAGES:
        losses = train(folder, stage, folder / "run")
        ends = losses[: len(losses) // 5], losses[-(len(losses) // 5) :]
        first, last = (fmean(part) for part in ends)
        print(f"{stage}: loss {first:.4f} in the first fifth, {last:.4f} in the last", flush=True)
        if last >= first:
            sys.exit(f"the loss of stage {stage} did not fall")
        if stage == INTERRUPTED:
            check_resume(folder, stage)
    patchvsr("export", "smoke_distill", "-o", folder / "model", "--set", f"output={folder / 'run'}")
    patchvsr("upscale", folder / "data" / "coffee.mkv", "-o", folder / "upscaled.mkv", "--model", folder / "model",
             "-s", "2", "--end", "0.4")  # fmt: skip
    print(f"{folder / 'upscaled.mkv'} was made with these weights; {time.monotonic() - started:.0f} s in all")


def make_clips(data: Path) -> None:
    """A camera over photos that come with scikit-image, without loss."""
    data.mkdir(parents=True)
    for name, frames in CLIPS.items():
        with LosslessWriter(data / f"{name}.mkv") as writer:
            for index, frame in enumerate(camera_move(load_photo(name), CLIP_SIZE, frames)):
                writer.write(frame, index / 24)


def train(folder: Path, stage: str, output: Path, *, stop_after: int | None = None) -> list[float]:
    """The loss of every step; `stop_after` leaves in the middle of the run, as a kill would."""
    overrides = {"data": folder / "data", "packed": folder / "packed", "output": output}
    recipe = resolve(f"smoke_{stage}", {name: str(value) for name, value in overrides.items()})
    losses = []
    for event in run_recipe(recipe):
        losses.append(sum(event.losses.values()))
        if stop_after and event.step >= stop_after:
            break
    return losses


def check_resume(folder: Path, stage: str) -> None:
    """The same stage once more, left in the middle and taken up again: the weights must be the same, bit for bit."""
    output = folder / "resumed"
    output.mkdir()
    for done in STAGES[: STAGES.index(stage)]:
        (output / f"smoke_{done}").symlink_to((folder / "run" / f"smoke_{done}").resolve())
    half = resolve(f"smoke_{stage}").steps // 2
    train(folder, stage, output, stop_after=half + 1)
    train(folder, stage, output)
    whole, resumed = (
        load_file(last_checkpoint(place / f"smoke_{stage}") / "weights.safetensors")
        for place in (folder / "run", output)
    )
    if whole.keys() != resumed.keys() or not all(whole[name].equal(resumed[name]) for name in whole):
        sys.exit(f"stage {stage} was stopped and resumed, and its weights differ")
    print(f"{stage}: stopped after step {half + 1} and resumed: {len(whole)} tensors equal", flush=True)


def patchvsr(*words: object) -> None:
    command = [str(Path(sys.executable).with_name("patchvsr")), *(str(word) for word in words)]
    print("$", *command, flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/smoke"))
    except PatchVSRError as error:
        sys.exit(str(error))
