"""Compare what a model decodes from the latents of its transformer with what it decodes from others.

python benchmarks/latents.py MODEL_OR_RECIPE --data /path/to/val --sets sets --steps 1 4

Where the means of the latents, or the same latents in other places, do as well as its own, the transformer's work is
worth no more than a constant. Sets are written as for `benchmarks/restorer.py`, and measured in the same places: the
middle 384x384 pixels of every clip. Prints a Markdown table for each set: PSNR-Y over bicubic, JOD, feature distance
and sharpness, means over clips.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from restorer import SCALE, clips, psnr
from torch import Generator, Tensor

from patchvsr.cli.console import pairs
from patchvsr.compute import default_dtype, limit_threads
from patchvsr.measures.colorvideovdp import ColorVideoVdpMeter
from patchvsr.measures.features import FeatureMeter
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.measures.sharpness import SharpnessMeter
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.training.build import build_stage, load_average
from patchvsr.training.recipes import resolve
from patchvsr.training.stages import AdapterStage

COLUMNS = ("PSNR-Y, dB over bicubic", "JOD", "feature distance", "sharpness")


def load(what: str, overrides: list[str]) -> PatchVSRPipeline:
    """Load a model, or what a run of the adapter or distillation has trained so far."""
    if not what.endswith(".json"):
        return PatchVSRPipeline.from_pretrained(what, dtype=default_dtype("cpu"))
    recipe = resolve(what, pairs(overrides, "--set"))
    stage = build_stage(recipe)
    load_average(recipe.run, stage)
    assert isinstance(stage, AdapterStage)
    return stage.eval().pipeline()


def decoded(pipeline: PatchVSRPipeline, latents: Tensor | None, canvas: Tensor, restoration: float) -> Tensor:
    known = {"restoration": torch.tensor([restoration]), "scale": torch.tensor([float(SCALE)])}
    cells = None if latents is None else latents[None].to(pipeline.dtype)
    with torch.no_grad():
        video = pipeline.vae.decode(cells, canvas.mul(2).sub(1).transpose(0, 1)[None], **known)
    return video[0].transpose(0, 1).add(1).div(2).clamp(0, 1)


def alternatives(own: Tensor, true: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield latents (C, T, h, w) by name: those of the transformer, what is made of them, and those of the original."""
    places = torch.randperm(own[0, 0].numel(), generator=Generator().manual_seed(0))
    yield "its own", own
    yield "its own, shuffled in space", own.flatten(2)[:, :, places].view_as(own)
    yield "their means", own.mean(dim=(1, 2, 3), keepdim=True).expand_as(own)
    yield "their means at every place of all clips: zero", torch.zeros_like(own)
    yield "of the original", true


def restored(
    pipeline: PatchVSRPipeline, lq: Tensor, canvas: Tensor, original: Tensor, step_counts: list[int]
) -> Iterator[tuple[str, Tensor]]:
    """Yield what becomes of a clip, by the name of the row that it belongs to."""
    yield "bicubic", canvas.clamp(0, 1)
    for steps in step_counts:
        result = pipeline(lq, scale=SCALE, num_inference_steps=steps, seed=0, color_match=False)
        assert result.latents is not None and result.restoration is not None
        if steps == step_counts[0]:
            yield "0 steps", decoded(pipeline, None, canvas, result.restoration)
        video, reference = (clip.mul(2).sub(1).transpose(0, 1)[None] for clip in (original, canvas))
        known = {"restoration": torch.tensor([result.restoration]), "scale": torch.tensor([float(SCALE)])}
        with torch.no_grad():
            true = pipeline.vae.encode(video, reference=reference, **known)[0]
        for name, latents in alternatives(result.latents.float(), true.float()):
            yield f"{name}, {steps} steps", decoded(pipeline, latents, canvas, result.restoration)


def measured(frames: Tensor, original: Tensor, bicubic_psnr: float) -> Tensor:
    meters = [PsnrMeter(), ColorVideoVdpMeter(fps=24.0), FeatureMeter(), SharpnessMeter()]
    scores = measure_clip(meters, frames, original)
    return torch.tensor([scores["psnr_y"] - bicubic_psnr, scores["jod"], scores["features"], scores["sharpness"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="a model, or recipe.json of a run of the adapter or distillation")
    parser.add_argument("--data", type=Path, required=True, help="folder of the originals")
    parser.add_argument("--sets", type=Path, nargs="+", required=True, help="sets that `patchvsr degrade` wrote")
    parser.add_argument("--steps", type=int, nargs="+", default=[1])
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of the recipe")
    args = parser.parse_args()
    limit_threads()
    torch.set_flush_denormal(True)
    pipeline = load(args.what, args.overrides)
    pipeline.set_progress_bar_config(disable=True)
    for folder in args.sets:
        rows: dict[str, list[Tensor]] = {}
        for _, lq, original in clips(args.data, folder, args.frames):
            canvas = resize_bicubic(lq, Size.of(original))
            bicubic = psnr(canvas.clamp(0, 1), original)
            for name, frames in restored(pipeline, lq, canvas, original, args.steps):
                rows.setdefault(name, []).append(measured(frames, original, bicubic))
        print(f"\n| {folder.name} |", " | ".join(COLUMNS), "|")
        print("|---" * (1 + len(COLUMNS)) + "|")
        for name, values in rows.items():
            gain, jod, features, sharpness = torch.stack(values).mean(dim=0).tolist()
            print(f"| {name} | {gain:+.2f} | {jod:.2f} | {features:.3f} | {sharpness:.2f} |", flush=True)


if __name__ == "__main__":
    main()
