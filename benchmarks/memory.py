"""Measure the peak resident memory of upscaling to 1080p for several lengths; it must not grow with the length.

python benchmarks/memory.py --steps 1 --seconds 10 60

Makes a 480x270 clip of each length and upscales it by 4 in a separate process.
"""

import argparse
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.measured import run_measured

WIDTH, HEIGHT = 480, 270


def make_clip(path: Path, duration_s: int, fps: int, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write a clip of moving waves that never repeats exactly."""
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for index in range(duration_s * fps):
            waves = [np.sin((x * (c + 2) + y * (5 - c)) / 37 + index * (0.11 + 0.03 * c)) for c in range(3)]
            rgb = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def peak_memory_gib(command: list[str]) -> float:
    """Run `command` and return its peak resident memory. Raises PatchVSRError if it failed."""
    measured = run_measured(command)
    if measured.code != 0:
        raise PatchVSRError(f"exit code {measured.code} of {command}: {measured.last_words()}")
    return measured.peak_memory_gib


def main() -> None:
    """Measure every length and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=1, help="sampling steps")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60], help="lengths of the clips")
    parser.add_argument("--fps", type=int, default=24, help="fewer frames a second take less time")
    args = parser.parse_args()
    runner = str(Path(__file__).with_name("product.py"))
    print("| output | frames | peak memory |\n|---|---|---|", flush=True)
    for duration_s in args.seconds:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "lq.mp4", Path(folder) / "out.mkv"
            make_clip(source, duration_s, args.fps)
            command = [sys.executable, runner, str(source), str(target), "--steps", str(args.steps)]
            peak = peak_memory_gib(command)
        size = f"{WIDTH * 4}x{HEIGHT * 4}"
        print(f"| {size}, {duration_s} s | {duration_s * args.fps} | {peak:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
