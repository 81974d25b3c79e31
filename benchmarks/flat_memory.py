"""Measure the peak resident memory of jobs of 100, 1,000 and 10,000 frames, which must not grow.

python benchmarks/flat_memory.py --frames 100 1000 10000
python benchmarks/flat_memory.py --frames 100 1000 --model mini --steps 0

Each length runs in its own process. The peak is Linux's VmHWM, so scanning and assembling are included.
"""

import argparse
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
SIDE = 64


def make_clip(path: Path, frames: int) -> None:
    """Write a moving gradient at 25 frames/s, with audio."""
    sys.path.insert(0, str(TESTS))
    from clips import make_video

    make_video(path, pts=list(range(frames)), time_base=Fraction(1, 25), size=(SIDE, SIDE), audio=True)


def work(source: str, target: str, model: str, steps: int) -> None:
    """Run one job in the measured process and print its peak in KiB."""
    sys.path.insert(0, str(TESTS))
    import toy

    from patchvsr.loading import load_pipeline
    from patchvsr.settings import UpscaleSettings
    from patchvsr.upscale import upscale

    config = UpscaleSettings.of(scale=2, model=model, num_inference_steps=steps)
    pipeline = toy.pipeline() if model == "toy" else load_pipeline(config.restore)
    for _ in upscale(source, target, config, pipeline=pipeline):
        pass
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Measure every length and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--model", default="toy", help="toy, or what `patchvsr upscale --model` takes")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work, args.model, args.steps)
    print("| frames | peak MiB | change from the first |\n|---|---|---|", flush=True)
    first = None
    for frames in args.frames:
        with tempfile.TemporaryDirectory() as folder:
            source, target = str(Path(folder) / "in.mkv"), str(Path(folder) / "out.mkv")
            make_clip(Path(source), frames)
            command = [sys.executable, __file__, "--model", args.model, "--steps", str(args.steps)]
            done = subprocess.run([*command, "--work", source, target], stdout=subprocess.PIPE, text=True, check=True)
        peak = int(done.stdout) / 1024
        first = first or peak
        print(f"| {frames} | {peak:.1f} | {100 * (peak / first - 1):+.1f} % |", flush=True)


if __name__ == "__main__":
    main()
