"""Compare time and memory of whole jobs with version 0.1.0, and time of the decoder with that of its convolutions.

git worktree add /tmp/v010 0.1.0
python benchmarks/engine.py --old /tmp/v010/src --sizes 720p 1080p 4k 8k --steps 0 1 --frames 26

Every job runs in a process of its own, old and new in turns. Seconds per frame are those that the job records for its
units: restoring and encoding, without imports and the scan. Memory is the peak of the process. The last column is the
time of one frame's convolutions alone, repeated on inputs that stay in place, as a share of the decoder's time.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from memory import make_clip, peak_memory_gib

SIZES = {"720p": (320, 180), "1080p": (480, 270), "4k": (960, 540), "8k": (1920, 1080)}
SCALE = 4
RUN = "import importlib, sys; importlib.import_module(sys.argv.pop(1)).main()"


def run_job(source: Path, folder: Path, code: Path, steps: int) -> tuple[float, float, float]:
    """Upscale `source`; return seconds per frame of its units, seconds of the process, and its peak memory in GiB."""
    output = folder / "out.mkv"
    module = "patchvsr.cli.main" if (code / "patchvsr" / "cli").is_dir() else "patchvsr.cli"
    os.environ["PYTHONPATH"] = str(code)
    started_at = time.perf_counter()
    peak = peak_memory_gib(
        [sys.executable, "-c", RUN, module, "upscale", str(source), "-o", str(output), "--steps", str(steps)]
    )
    seconds = time.perf_counter() - started_at
    job = output.with_name(output.name + ".job")
    units = json.loads((job / "result.json").read_text())["units"]
    frames = len(json.loads((job / "manifest.json").read_text())["scan"]["pts"])
    shutil.rmtree(job)
    output.unlink()
    return sum(unit["seconds"] for unit in units) / frames, seconds, peak


def decoder_seconds(width: int, height: int, frames: int = 8) -> tuple[float, float, float]:
    """Return seconds per frame of the decoder, of its convolutions alone, and the GFLOP of one frame."""
    import torch
    from kernels import Kernels

    from patchvsr.loading import load_pipeline
    from patchvsr.settings import RestoreSettings

    autoencoder = load_pipeline(RestoreSettings()).vae
    cell = autoencoder.geometry.spatial_factor
    height, width = -(-height // cell) * cell, -(-width // cell) * cell
    reference = torch.rand(1, 3, 1, height, width) * 2 - 1
    latents = torch.zeros(1, autoencoder.geometry.latent_channels, 1, height // cell, width // cell)
    known = {"restoration": torch.tensor([0.3]), "scale": torch.tensor([4.0])}
    state, times = None, []
    with torch.no_grad():
        for _ in range(frames):
            started_at = time.perf_counter()
            _, state = autoencoder.decode_next(latents, reference, state, **known)
            times.append(time.perf_counter() - started_at)
        with Kernels() as kernels:
            autoencoder.decode_next(latents, reference, state, **known)
        alone = kernels.seconds()
    return statistics.median(times[frames // 2 :]), alone, kernels.gflop


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--old", type=Path, help="sources of the old version; without it only the new one runs")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["720p"])
    parser.add_argument("--steps", type=int, nargs="+", default=[0])
    parser.add_argument("--frames", type=int, default=26)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--decoder", metavar="SIZE", choices=SIZES, help="time the decoder only")
    args = parser.parse_args()
    if args.decoder:
        width, height = SIZES[args.decoder]
        decoder, kernels, gflop = decoder_seconds(width * SCALE, height * SCALE)
        print(
            f"decoder {args.decoder}: {decoder:.3f} s/frame, convolutions alone {kernels:.3f} s "
            f"({gflop:.0f} GFLOP, {gflop / kernels / 1000:.2f} TFLOP/s), share {kernels / decoder:.0%}"
        )
        return
    codes = {"new": Path(__file__).parents[1] / "src"}
    if args.old:
        codes = {"old": args.old, **codes}
    print("| output | steps | version | s/frame | s, whole process | peak GiB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for size in args.sizes:
            source = Path(name) / f"{size}.mkv"
            make_clip(source, args.frames, 1, *SIZES[size])
            for steps in args.steps:
                taken: dict[str, list[tuple[float, float, float]]] = {version: [] for version in codes}
                for _ in range(args.rounds):
                    for version, code in codes.items():
                        taken[version].append(run_job(source, Path(name), code, steps))
                best = {version: tuple(map(min, zip(*runs, strict=True))) for version, runs in taken.items()}
                for version, (frame_s, process_s, peak) in best.items():
                    print(f"| {size} | {steps} | {version} | {frame_s:.3f} | {process_s:.1f} | {peak:.2f} |")
                if args.old:
                    ratios = [old / new for old, new in zip(best["old"], best["new"], strict=True)]
                    line = f"| {size} | {steps} | old / new | {ratios[0]:.2f} | {ratios[1]:.2f} | {ratios[2]:.2f} |"
                    print(line, flush=True)


if __name__ == "__main__":
    main()
