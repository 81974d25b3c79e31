"""Compare seconds per frame of PatchVSR and Real-ESRGAN, from 320x180 to 1280x720, on the same CPU threads.

python benchmarks/speed.py --steps 1 --rounds 3

The methods take turns, so that a busy or hot machine slows all of them equally. The median of the rounds is printed.
PatchVSR's time includes loading, decoding and lossless encoding. Real-ESRGAN's time is the network alone, which favours
it.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from product import upscale_file
from torch import Tensor

from patchvsr.degradation.lq_file import bicubic_reduce
from patchvsr.evaluation.realesrgan import MODELS, RealEsrgan
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.media.lossless import LosslessWriter
from patchvsr.pixels.size import Size

LQ_SIZE = Size(320, 180)


def make_clip(path: Path, frames: int) -> Tensor:
    """Write a 320x180 clip of a camera move over a photo; return its first frame (3, 180, 320)."""
    photo = load_photo("astronaut")
    views = camera_move(photo, LQ_SIZE.scaled(2), frames)
    clip = [bicubic_reduce(view[None], 2)[0] for view in views]
    with LosslessWriter(path) as writer:
        for index, frame in enumerate(clip):
            writer.write(frame, Fraction(index, 24))
    return clip[0]


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def methods(args: argparse.Namespace, folder: Path) -> dict[str, tuple[Callable[[], object], int]]:
    """Return every method as a call without arguments, with the number of frames it produces."""
    source = folder / "lq.mkv"
    frame = make_clip(source, args.frames)
    ours = partial(upscale_file, source, folder / "out.mkv")
    calls: dict[str, tuple[Callable[[], object], int]] = {
        f"PatchVSR, {steps} steps": (partial(ours, steps=steps), args.frames) for steps in args.steps
    }
    for name in MODELS:
        calls[f"Real-ESRGAN {name}"] = partial(RealEsrgan(name, threads=args.threads), frame), 1
    return calls


def measure(calls: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, float]:
    """Return the median seconds per frame of every method, with the methods taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, (call, frames) in calls.items():
            taken = seconds(call) / frames
            if round_ > 0:  # the first round warms up caches and thread pools
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Run the comparison and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1], help="PatchVSR's sampling steps")
    parser.add_argument("--frames", type=int, default=17, help="length of PatchVSR's clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        times = measure(methods(args, Path(folder)), args.rounds)
    first = next(iter(times))
    print(f"{args.threads} threads of {os.cpu_count()} cores, median of {args.rounds} rounds\n")
    print(f"| method | seconds per frame | time relative to {first} |\n|---|---|---|")
    for name, taken in times.items():
        print(f"| {name} | {taken:.3f} | {taken / times[first]:.2f}x |")


if __name__ == "__main__":
    main()
