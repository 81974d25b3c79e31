"""Measure the time to load a training clip from a packed folder on one thread, for videos and photos separately.

python benchmarks/loader.py runs/packed 5x256x256 17x512x512

The first `--warmup` clips of a size may wait for the disk and are not counted. The folder must hold both kinds.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from patchvsr.training.clips import ClipSource


def seconds_per_clip(source: ClipSource, size: tuple[int, int, int], clips: int, warmup: int) -> list[float]:
    """Return the wall time of each clip after the warm-up."""
    times = []
    for seed in range(warmup + clips):
        generator = torch.Generator().manual_seed(seed)
        start = time.perf_counter()
        source.window(generator, *size)
        times.append(time.perf_counter() - start)
    return times[warmup:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("sizes", nargs="+", help="FRAMESxHEIGHTxWIDTH")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| clip | from | ms (median) | ms (mean) | frames/s |\n|---|---|---|---|---|")
    for text in args.sizes:
        frames, height, width = map(int, text.split("x"))
        for kind, photo_share in (("video", 0.0), ("photo", 1.0)):
            source = ClipSource(args.packed, photo_share=photo_share)
            times = seconds_per_clip(source, (frames, height, width), args.clips, args.warmup)
            mean = statistics.fmean(times)
            print(
                f"| {text} | {kind} | {statistics.median(times) * 1e3:.1f} | {mean * 1e3:.1f} | {frames / mean:.0f} |"
            )


if __name__ == "__main__":
    main()
