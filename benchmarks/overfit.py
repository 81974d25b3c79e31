"""Overfit the adapter to a single clip, which it must then restore far better than bicubic.

python benchmarks/overfit.py CLIP --out runs/overfit --init MODEL [--steps 400] [--frames 9] [--side 256]

Prints PSNR-Y at x4 of bicubic upscaling, of true latents (the upper bound of the autoencoder) and of the adapter.
"""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import torch

from patchvsr.degradation.lq_file import bicubic_enlarge, bicubic_reduce
from patchvsr.errors import InputError, PatchVSRError
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import read_rgb
from patchvsr.training.build import build_stage
from patchvsr.training.packing import pack
from patchvsr.training.recipes import Recipe, resolve
from patchvsr.training.run import samples_of
from patchvsr.training.stages import AdapterStage, AutoencoderStage
from patchvsr.training.trainer import TrainEvent, train
from patchvsr.training.validation import centre


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--init", required=True, help="model to start from, with a transformer")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--sampling-steps", type=int, nargs="*", default=[1, 4, 20])
    args = parser.parse_args()
    try:
        run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


def run(args: argparse.Namespace) -> None:
    # 1. make one clip of exactly the patch size, so that all samples have the same content
    (args.out / "data").mkdir(parents=True)
    frames = list(read_rgb(args.clip, max_frames=args.frames))
    if len(frames) < args.frames:
        raise InputError(f"{args.clip} has {len(frames)} frames; {args.frames} are needed")
    hq = centre(torch.stack(frames), args.side, args.side)
    with LosslessWriter(args.out / "data" / "clip.mkv") as writer:
        for index, frame in enumerate(hq):
            writer.write(frame, Fraction(index, 24))
    pack(args.out / "data", args.out / "packed")

    # 2. train the adapter stage on this clip alone
    recipe = resolve("mini_adapter", {
        "init": args.init, "packed": str(args.out / "packed"), "output": str(args.out), "steps": str(args.steps),
        "num_frames": str(args.frames), "sizes": str(args.side), "canvas_min": str(args.side),
        "canvas_max": str(args.side), "batch_size": str(args.batch_size), "learning_rate": "1e-3",
        "warmup_steps": "20", "ema_decay": "0.98", "max_noise_timestep": "0", "degradation.clean_share": "1",
        "degradation.bilinear_share": "0", "degradation.four_share": "1",
        "validation_steps": ",".join(map(str, args.sampling_steps)), "log_every": "50",
    })  # fmt: skip
    stage = build_stage(recipe)
    assert isinstance(stage, AdapterStage)
    samples = samples_of(recipe, stage)
    for event in train(recipe, stage, samples, data_digest=samples.source.digest):
        if isinstance(event, TrainEvent):
            print(f"step {event.step}: velocity {event.losses['velocity']:.4f}", flush=True)
    report(recipe, stage, hq)


def report(recipe: Recipe, stage: AdapterStage, hq: torch.Tensor) -> None:
    lq = bicubic_reduce(hq, 4)
    ceiling = AutoencoderStage(recipe, stage.autoencoder)  # type: ignore[arg-type]
    restored = {"bicubic": bicubic_enlarge(lq, 4), **ceiling.eval().restore(lq, hq), **stage.eval().restore(lq, hq)}
    bicubic = psnr(restored["bicubic"], hq)
    for name, clip in restored.items():
        print(f"{name}: {psnr(clip, hq):.2f} dB, {psnr(clip, hq) - bicubic:+.2f} against bicubic")


def psnr(clip: torch.Tensor, hq: torch.Tensor) -> float:
    return measure_clip([PsnrMeter()], clip, hq)["psnr_y"]


if __name__ == "__main__":
    main()
