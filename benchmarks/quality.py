"""Quality against the original: bicubic and PatchVSR at several numbers of steps, on a folder of videos.

python benchmarks/quality.py --data /path/to/val --steps 0 1 4 --out runs/quality

Every clip is reduced by 4 into a lossless file, restored into a lossless file and compared with the original.
Prints a Markdown table; `quality.json` in the output folder also holds sizes and the hash of every input.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from product import upscale_file
from torch import Tensor

from patchvsr.errors import InputError, PatchVSRError
from patchvsr.evaluation.degrade import LqFile, bicubic_enlarge, cut, write_lq
from patchvsr.evaluation.lossless import read_frames
from patchvsr.evaluation.metrics import VideoMetrics

SCALE = 4
VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm"}
COLUMNS = {"psnr_y": ".2f", "ssim_y": ".4f", "vmaf": ".2f", "vmaf_neg": ".2f", "seconds_per_frame": ".2f"}


def compare(pred: Iterable[Tensor], hq_path: Path, lq: LqFile, *, vmaf: bool) -> dict[str, float]:
    """Scores of restored frames (3, H, W) against the original; another number of frames is an error."""
    metrics = VideoMetrics(vmaf=vmaf)
    targets = (cut(frame, lq.hq_size) for frame, _ in read_frames(hq_path, max_frames=lq.frames))
    for restored, original in zip(pred, targets, strict=True):
        metrics.update(restored[None], original[None])
    return metrics.result()


def bicubic_frames(lq_path: Path) -> Iterator[Tensor]:
    """The baseline: every frame enlarged on its own."""
    return (bicubic_enlarge(frame[None], SCALE)[0] for frame, _ in read_frames(lq_path))


def restored_frames(path: Path) -> Iterator[Tensor]:
    """Frames of an upscaled file."""
    return (frame for frame, _ in read_frames(path))


def measure_clip(hq_path: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Reduce, restore and compare one clip; a `folder` with an earlier result is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    lq_path = folder / "lq.mkv"
    lq = write_lq(hq_path, lq_path, SCALE, max_frames=args.frames)
    scores = {"bicubic": compare(bicubic_frames(lq_path), hq_path, lq, vmaf=args.vmaf)}
    for steps in args.steps:
        target = folder / f"steps{steps}.mkv"
        start = time.perf_counter()
        upscale_file(lq_path, target, steps=steps)
        seconds = time.perf_counter() - start
        score = compare(restored_frames(target), hq_path, lq, vmaf=args.vmaf)
        scores[f"PatchVSR, {steps} steps"] = score | {"seconds_per_frame": seconds / lq.frames}
    return {"clip": hq_path.name, "lq": asdict(lq) | {"cropped": lq.cropped}, "scores": scores}


def mean_scores(clips: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over clips of every score of every method; each clip counts the same."""
    methods = clips[0]["scores"]
    return {
        method: {name: sum(clip["scores"][method][name] for clip in clips) / len(clips) for name in names}
        for method, names in methods.items()
    }


def markdown(clips: list[dict[str, Any]]) -> str:
    """One row per clip and method, then the means."""
    lines = [f"| clip | method | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for clip in [*clips, {"clip": "**mean**", "scores": mean_scores(clips)}]:
        for method, scores in clip["scores"].items():
            cells = [format(scores[name], spec) if name in scores else "" for name, spec in COLUMNS.items()]
            lines.append(f"| {clip['clip']} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of original videos")
    parser.add_argument("--steps", type=int, nargs="*", default=[0, 1, 4], help="sampling steps to compare")
    parser.add_argument("--out", type=Path, required=True, help="new folder for files and quality.json")
    parser.add_argument("--frames", type=int, help="only the first frames of every clip")
    parser.add_argument("--vmaf", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    try:
        run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


def run(args: argparse.Namespace) -> None:
    """Measure every clip of the folder."""
    paths = sorted(path for path in args.data.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise InputError(f"no videos in {args.data}")
    clips = []
    for path in paths:
        clips.append(measure_clip(path, args.out / path.stem, args))
        # Written after every clip: what is measured is not lost when a later one fails.
        report = {"scale": SCALE, "mean": mean_scores(clips), "clips": clips}
        (args.out / "quality.json").write_text(json.dumps(report, indent=2))
        print(f"{len(clips)}/{len(paths)} {path.name}", flush=True)
    print(markdown(clips))


if __name__ == "__main__":
    main()
