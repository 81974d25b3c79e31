"""Compare bicubic, PatchVSR and optionally Real-ESRGAN with the original, on a folder of videos.

python benchmarks/quality.py --data /path/to/val --steps 0 1 4 --out runs/quality
python benchmarks/quality.py --data /path/to/val --set /path/to/lq_set --steps 0 1 4 --out runs/quality_real

Every clip is degraded at x4 into a lossless file, restored into a lossless file and compared with the original. With
--set, the low-quality files are those of a set made by `patchvsr degrade`, after its hashes are checked.
"warping_error" is in 8-bit levels; "flicker" is the frame-to-frame change relative to bicubic.
Prints a Markdown table. `quality.json` in the output folder also holds sizes and the hash of every input.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from product import upscale_file
from torch import Tensor

from patchvsr.degradation.degrade import PRESETS, on_8_bits
from patchvsr.degradation.lq_file import LqFile, bicubic_enlarge, cut
from patchvsr.degradation.lq_set import LqClip, LqSet, check_lq_set, write_lq_set
from patchvsr.errors import InputError, PatchVSRError
from patchvsr.evaluation.realesrgan import MODELS, RealEsrgan
from patchvsr.measures.flicker import flicker_score
from patchvsr.measures.metrics import VideoMetrics
from patchvsr.measures.temporal import TemporalMeter
from patchvsr.media.lossless import read_frames

SCALE = 4
COLUMNS = {
    "psnr_y": ".2f", "ssim_y": ".4f", "vmaf": ".2f", "vmaf_neg": ".2f", "warping_error": ".2f", "flicker": ".3f",
    "seconds_per_frame": ".2f",
}  # fmt: skip


def compare(pred: Iterable[Tensor], hq_path: Path, lq: LqFile, *, vmaf: bool) -> dict[str, float]:
    """Score restored frames (3, H, W) against the original. Raises ValueError if the number of frames differs."""
    metrics, steadiness = VideoMetrics(vmaf=vmaf), TemporalMeter()
    targets = (cut(frame, lq.hq_size) for frame, _ in read_frames(hq_path, max_frames=lq.frames))
    for restored, original in zip(pred, targets, strict=True):
        metrics.update(restored[None], original[None])
        steadiness.update(restored, original)
    return metrics.result() | steadiness.result()


def steadiness_of_original(hq_path: Path, lq: LqFile) -> dict[str, float]:
    """Return frame-to-frame change and warping error of the original itself."""
    meter = TemporalMeter()
    for frame, _ in read_frames(hq_path, max_frames=lq.frames):
        meter.update(cut(frame, lq.hq_size), cut(frame, lq.hq_size))
    return meter.result()


def bicubic_frames(lq_path: Path) -> Iterator[Tensor]:
    """Upscale every frame bicubically: the baseline."""
    return (bicubic_enlarge(frame[None], SCALE)[0] for frame, _ in read_frames(lq_path))


def realesrgan_frames(lq_path: Path, hq_size: tuple[int, int], name: str, threads: int) -> Iterator[Tensor]:
    """Upscale every frame with Real-ESRGAN, rounded to 8 bits as its own program stores it."""
    model = RealEsrgan(name, threads=threads)
    return (cut(on_8_bits(model(frame)), hq_size) for frame, _ in read_frames(lq_path))


def restored_frames(path: Path) -> Iterator[Tensor]:
    """Read the frames of an upscaled file."""
    return (frame for frame, _ in read_frames(path))


def measure_clip(clip: LqClip, lq_path: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Restore one clip with every method and compare the results with the original."""
    folder.mkdir(parents=True, exist_ok=True)
    hq_path, lq = args.data / clip.source, clip.lq
    scores = {"bicubic": compare(bicubic_frames(lq_path), hq_path, lq, vmaf=args.vmaf)}
    for steps in args.steps:
        target = folder / f"steps{steps}.mkv"
        start = time.perf_counter()
        upscale_file(lq_path, target, steps=steps, model=args.model, restoration=args.restoration)
        seconds = time.perf_counter() - start
        score = compare(restored_frames(target), hq_path, lq, vmaf=args.vmaf)
        scores[f"PatchVSR, {steps} steps"] = score | {"seconds_per_frame": seconds / lq.frames}
    for name in args.realesrgan:
        frames = realesrgan_frames(lq_path, lq.hq_size, name, args.threads)
        scores[f"Real-ESRGAN {name}"] = compare(frames, hq_path, lq, vmaf=args.vmaf)
    scores["original"] = steadiness_of_original(hq_path, lq)  # the values of a perfect result
    for score in scores.values():
        if "change" in score:
            score["flicker"] = flicker_score([score["change"]], [scores["bicubic"]["change"]])
    return {"clip": hq_path.name, "lq": asdict(lq) | {"cropped": lq.cropped}, "scores": scores}


def mean_scores(clips: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Average every score of every method over clips, with equal weights."""
    methods = clips[0]["scores"]
    return {
        method: {name: sum(clip["scores"][method][name] for clip in clips) / len(clips) for name in names}
        for method, names in methods.items()
    }


def markdown(clips: list[dict[str, Any]]) -> str:
    """Format one row per clip and method, then the means."""
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
    parser.add_argument("--model", default="mini", help="bundled name, model folder, or Hub name")
    parser.add_argument("--out", type=Path, required=True, help="new folder for files and quality.json")
    parser.add_argument(
        "--frames", type=int, help="number of first frames to use of every clip; a set has its own number"
    )
    parser.add_argument("--degradation", choices=PRESETS, default="bicubic", help="how the low-quality files are made")
    parser.add_argument("--seed", type=int, default=0, help="seed of the degradation")
    parser.add_argument("--set", type=Path, help="existing low-quality set to measure on instead of making one")
    parser.add_argument("--realesrgan", nargs="*", choices=MODELS, default=[], help="also measure these, on the CPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of Real-ESRGAN")
    parser.add_argument("--restoration", type=float, help="0 to 1; estimated if not given")
    parser.add_argument("--vmaf", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    try:
        run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


def low_quality(args: argparse.Namespace) -> tuple[Path, LqSet]:
    """Return the set to measure on: the given one after a check, or a new one in the output folder."""
    if args.set is None:
        folder = args.out / "lq"
        settings = PRESETS[args.degradation]
        return folder, write_lq_set(args.data, folder, SCALE, settings=settings, seed=args.seed, max_frames=args.frames)
    lq_set = check_lq_set(args.set, args.data)
    if lq_set.scale != SCALE:
        raise InputError(f"{args.set} was made at x{lq_set.scale}: give a set at x{SCALE}")
    return args.set, lq_set


def run(args: argparse.Namespace) -> None:
    """Measure every clip of the folder."""
    lq_folder, lq_set = low_quality(args)
    clips = []
    for clip in lq_set.clips:
        clips.append(measure_clip(clip, lq_folder / clip.file, args.out / Path(clip.source).stem, args))
        # Write after every clip, so that results are not lost if a later clip fails.
        degradation = {"seed": lq_set.seed, "settings": asdict(lq_set.settings), "versions": lq_set.versions}
        report = {"scale": SCALE, "degradation": degradation, "mean": mean_scores(clips), "clips": clips}
        (args.out / "quality.json").write_text(json.dumps(report, indent=2))
        print(f"{len(clips)}/{len(lq_set.clips)} {clip.source}", flush=True)
    print(markdown(clips))


if __name__ == "__main__":
    main()
