"""Measure a feed-forward restorer, of a model or of a run in training: what it gains, told the degradation or not.

for kind in bicubic light medium realbasicvsr; do
    patchvsr degrade /path/to/val sets/$kind --degradation $kind --frames 5
done
python benchmarks/restorer.py runs/mini/mini_restorer/recipe.json --data /path/to/val --sets sets

Prints a Markdown table: PSNR-Y over bicubic in the middle 384x384 pixels, the mean of all clips and the lowest of them,
with the estimate of the degradation and told 0, 0.25, 0.5, 0.75 and 1. Takes a minute a set on one core.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from patchvsr.cli.console import pairs
from patchvsr.compute import default_dtype, limit_threads
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.media.tensors import read_rgb
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.training.build import trained_modules
from patchvsr.training.recipes import resolve

TOLD = (None, 0.0, 0.25, 0.5, 0.75, 1.0)
SIDE, SCALE = 384, 4


def load(what: str, overrides: list[str]) -> PatchVSRPipeline:
    dtype = default_dtype("cpu")
    if what.endswith(".json"):
        autoencoder, _ = trained_modules(resolve(what, pairs(overrides, "--set")))
        return PatchVSRPipeline(None, autoencoder.to(dtype).eval(), num_inference_steps=0)  # type: ignore[attr-defined]
    return PatchVSRPipeline.from_pretrained(what, dtype=dtype)


def clips(data: Path, lq_set: Path, frames: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield name, low-quality frames and originals, cut to the middle."""
    for path in sorted(lq_set.glob("*.mkv")):
        lq = torch.stack([*read_rgb(path, max_frames=frames)])
        original = torch.stack([*read_rgb(data / f"{path.stem}.mp4", max_frames=frames)])
        side = SIDE // SCALE
        yield path.stem, middle(lq, side), middle(original, side, SCALE)


def middle(frames: Tensor, side: int, scale: int = 1) -> Tensor:
    """Cut a square of `side` low-quality pixels from the middle of frames that are `scale` times as large."""
    tops = [(length // scale - side) // 2 * scale for length in frames.shape[-2:]]
    rows, columns = (slice(max(top, 0), max(top, 0) + side * scale) for top in tops)
    return frames[..., rows, columns]


def psnr(frames: Tensor, original: Tensor) -> float:
    return measure_clip([PsnrMeter()], frames, original)["psnr_y"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="recipe.json of a run, or a model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the originals")
    parser.add_argument("--sets", type=Path, required=True, help="folder of the sets that `patchvsr degrade` wrote")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of the recipe")
    args = parser.parse_args()
    limit_threads()
    torch.set_flush_denormal(True)
    pipeline = load(args.what, args.overrides)
    pipeline.set_progress_bar_config(disable=True)
    print("| restoration |", " | ".join(folder.name for folder in sorted(args.sets.iterdir())), "|")
    print("|---" * (1 + len(list(args.sets.iterdir()))) + "|")
    gains: dict[float | None, list[str]] = {told: [] for told in TOLD}
    for folder in sorted(args.sets.iterdir()):
        found: dict[float | None, list[float]] = {told: [] for told in TOLD}
        for _, lq, original in clips(args.data, folder, args.frames):
            bicubic = psnr(resize_bicubic(lq, Size.of(original)).clamp(0, 1), original)
            for told in TOLD:
                restored = pipeline(lq, scale=SCALE, num_inference_steps=0, restoration=told).frames
                found[told].append(psnr(restored, original) - bicubic)
        for told, values in found.items():
            gains[told].append(f"{sum(values) / len(values):+.2f} ({min(values):+.2f})")
    for told, cells in gains.items():
        print("| estimated |" if told is None else f"| {told:g} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
