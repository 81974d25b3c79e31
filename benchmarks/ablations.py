"""Ablate parts of the adapter, or compare distillation objectives, on equal data, noise and steps.

python benchmarks/ablations.py parts --packed PACKED --validation PACKED_VAL --runs runs/mini --out runs/ablations
python benchmarks/ablations.py objectives ...

`parts` starts from the autoencoder and base in `--runs`, `objectives` from the adapter there. Held-out clips give the
velocity loss, on the same samples and noise for all variants, and PSNR-Y and SSIM of 512-pixel crops (nine patches)
restored in 1 step (`objectives`: also in 4). `patchvsr study ablation` leaves parts out of a finished model instead.
"""

import argparse
import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.studies.ablation import Change, without_global_branch, without_location, without_prompt
from patchvsr.training.build import build_stage
from patchvsr.training.clips import ClipSource
from patchvsr.training.recipes import Recipe, resolve
from patchvsr.training.run import samples_of
from patchvsr.training.samples import PatchSample, Samples
from patchvsr.training.stages import AdapterStage, Stage
from patchvsr.training.trainer import train
from patchvsr.training.validation import Validator

VALIDATION_SAMPLES = 48

PARTS: dict[str, tuple[dict[str, str], Change]] = {
    "all": ({}, nullcontext),
    "without global branch": ({}, without_global_branch),
    "without location mask": ({}, without_location),
    "without LoRA": ({"lora_rank": "0"}, nullcontext),
    "without fixed prompt": ({}, without_prompt),
    "without noise augmentation": ({"max_noise_timestep": "0"}, nullcontext),
}
OBJECTIVES: dict[str, tuple[dict[str, str], Change]] = {
    "pixel": ({"objective": "pixel"}, nullcontext),
    "pixel and consistency": ({"objective": "consistency"}, nullcontext),
    "pixel and distribution matching": ({"objective": "distribution"}, nullcontext),
    "pixel and adversarial": ({"objective": "adversarial", "adversarial_weight": "0.01"}, nullcontext),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=["parts", "objectives"])
    parser.add_argument("--packed", required=True, help="packed training data")
    parser.add_argument("--validation", type=Path, required=True, help="packed validation clips")
    parser.add_argument("--runs", type=Path, required=True, help="folder with the runs of the previous stages")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="override recipe fields")
    args = parser.parse_args()
    try:
        run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


def run(args: argparse.Namespace) -> None:
    stage_name, variants = ("adapter", PARTS) if args.group == "parts" else ("distill", OBJECTIVES)
    rows = {}
    for number, (name, (overrides, change)) in enumerate(variants.items()):
        output = args.out / f"{args.group}-{number}"
        output.mkdir(parents=True)
        for done in ("autoencoder", "base", "adapter")[: 2 if stage_name == "adapter" else 3]:
            (output / f"mini_{done}").symlink_to((args.runs / f"mini_{done}").resolve())
        common = {
            "output": str(output), "packed": args.packed, "steps": str(args.steps), "num_frames": "9", "sizes": "256",
            "canvas_min": "256", "canvas_max": "512", "batch_size": "4", "warmup_steps": "10", "ema_decay": "0.95",
            "validation_steps": "1" if stage_name == "adapter" else "1,4", "validation_side": "512",
        }  # fmt: skip
        further = dict(pair.split("=", 1) for pair in args.set)
        recipe = resolve(f"mini_{stage_name}", common | further | overrides)
        rows[name] = variant(recipe, change, ClipSource(args.validation))
        print(name, json.dumps(rows[name]), flush=True)
        (args.out / f"{args.group}.json").write_text(json.dumps(rows, indent=1))
    print(markdown(rows))


def variant(recipe: Recipe, change: Change, footage: ClipSource) -> dict[str, float]:
    stage = build_stage(recipe)
    assert isinstance(stage, AdapterStage)
    with change(stage.transformer):
        return trained_scores(recipe, stage, footage)


def trained_scores(recipe: Recipe, stage: AdapterStage, footage: ClipSource) -> dict[str, float]:
    samples = samples_of(recipe, stage)
    for _ in train(recipe, stage, samples, data_digest=samples.source.digest):
        pass
    scores: dict[str, float] = {"velocity loss": validation_loss(recipe, stage, footage)}
    for method, measures in Validator(recipe, footage, ["bicubic"]).run(stage, recipe.steps).items():
        if method.startswith("bicubic LQ, steps"):
            scores |= {
                f"{method.removeprefix('bicubic LQ, ')}, {name}": measures[name] for name in ("psnr_y", "ssim_y")
            }
    return scores


@torch.no_grad()
def validation_loss(recipe: Recipe, stage: Stage, footage: ClipSource) -> float:
    """Return the velocity loss on the same samples for every variant, without noise augmentation, as in upscaling."""
    even = replace(recipe, clean_condition_share=1.0, seed=1)
    samples = Samples(PatchSample(even, stage.make_sample.geometry), footage, even)
    velocity = AdapterStage.forward
    losses = []
    for number in range(VALIDATION_SAMPLES):
        batch = {name: value.unsqueeze(0) for name, value in samples[number, 0].items()}
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(velocity(stage, batch)["velocity"].item())  # type: ignore[arg-type]
    return fmean(losses)


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f"| variant | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, scores in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{scores[column]:.4f}' for column in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
