"""Measure how well colour matching removes colour errors, and what it costs, on a folder of videos.

patchvsr degrade /path/to/val lq --frames 3
python benchmarks/color.py --data /path/to/val --set lq --steps 0

Every clip is restored once without colour matching and measured four
times: as decoded, matched, spoiled, and spoiled then matched. Spoiling adds typical colour errors: a red tint of 6
levels, a drift from left to right, lower saturation, and 256-pixel tiles that differ by up to 8 levels.
Prints a Markdown table: mean absolute difference of Cb and Cr from bicubic upscaling (in 8-bit levels, not rounded),
PSNR-Y, and PSNR of Cb and Cr against the original.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from patchvsr.degradation.lq_file import cut
from patchvsr.degradation.lq_set import check_lq_set
from patchvsr.errors import PatchVSRError
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.media.tensors import read_rgb
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.color_match import match_color_
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

COLUMNS = ("chroma error", "PSNR-Y", "PSNR-C")


def chroma(frames: Tensor) -> Tensor:
    """Convert (F, 3, H, W) in [0, 1] to full-range BT.709 Cb and Cr (F, 2, H, W), in 8-bit levels."""
    red, _, blue = frames.unbind(1)
    luma = (frames * frames.new_tensor((0.2126, 0.7152, 0.0722)).view(3, 1, 1)).sum(1)
    return torch.stack([(blue - luma) / 1.8556, (red - luma) / 1.5748], 1) * 255


def spoil(frames: Tensor) -> Tensor:
    """Add low-frequency colour errors of several kinds to frames (F, 3, H, W) in [0, 1]."""
    height, width = frames.shape[-2:]
    grey = frames.mean(1, keepdim=True)
    ramp = torch.linspace(-6, 6, width).view(1, 1, 1, -1) * torch.tensor([1, -0.3, -0.5]).view(3, 1, 1)
    tint = torch.tensor([6.0, 0, 0]).view(3, 1, 1)
    tiles = torch.rand(1, 3, -(-height // 256), -(-width // 256), generator=torch.Generator().manual_seed(1)) * 8 - 4
    steps = cut(tiles.repeat_interleave(256, 2).repeat_interleave(256, 3), Size(width, height))
    return (grey + 0.9 * (frames - grey) + (ramp + tint + steps) / 255).clamp(0, 1)


def matched(frames: Tensor, canvas: Tensor, input_size: tuple[int, int]) -> Tensor:
    """Match colours as the pipeline does; all (F, 3, H, W) in [0, 1]."""
    video = frames.transpose(0, 1) * 2 - 1
    return match_color_(video, canvas.transpose(0, 1) * 2 - 1, input_size).transpose(0, 1).add(1).div(2)


def measure(frames: Tensor, canvas: Tensor, original: Tensor) -> list[float]:
    """Return the value of each column."""
    psnr_y = measure_clip([PsnrMeter()], frames, original)["psnr_y"]
    squared = (chroma(frames) - chroma(original)).square().mean((1, 2, 3))
    psnr_c = (10 * torch.log10(255**2 / squared)).mean()
    return [(chroma(frames) - chroma(canvas)).abs().mean().item(), psnr_y, psnr_c.item()]


def measure_matches(pipeline: PatchVSRPipeline, lq: Tensor, original: Tensor, steps: int) -> dict[str, list[float]]:
    """Restore a clip (F, 3, h, w) once and measure it four times."""
    frames = pipeline(lq, num_inference_steps=steps, color_match=False).frames
    canvas = resize_bicubic(lq, Size(original.shape[-1], original.shape[-2]))
    input_size = (lq.shape[-2], lq.shape[-1])
    spoiled = spoil(frames)
    return {
        "as decoded": measure(frames, canvas, original),
        "matched": measure(matched(frames, canvas, input_size), canvas, original),
        "spoiled": measure(spoiled, canvas, original),
        "spoiled, matched": measure(matched(spoiled, canvas, input_size), canvas, original),
    }


def run(args: argparse.Namespace) -> None:
    """Measure every clip of the folder, then print the means over clips."""
    folder, lq_set = args.set, check_lq_set(args.set, args.data)
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    rows: dict[str, list[list[float]]] = {}
    print(f"| clip | output | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|", sep="\n")
    for clip in lq_set.clips:
        lq = torch.stack(list(read_rgb(folder / clip.file)))
        frames = read_rgb(args.data / clip.source, max_frames=len(lq))
        original = cut(torch.stack(list(frames)), clip.lq.hq_size)
        for output, scores in measure_matches(pipeline, lq, original, args.steps).items():
            rows.setdefault(output, []).append(scores)
            print_row(clip.source, output, scores)
    for output, scores_of_clips in rows.items():
        print_row("**mean**", output, torch.tensor(scores_of_clips).mean(0).tolist())


def print_row(clip: str, output: str, scores: list[float]) -> None:
    """Print one row of the table."""
    print(f"| {clip} | {output} | {scores[0]:.3f} | {scores[1]:.2f} | {scores[2]:.2f} |", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of original videos")
    parser.add_argument("--steps", type=int, default=0, help="sampling steps")
    parser.add_argument("--model", default="mini", help="bundled name, model folder, or Hub name")
    parser.add_argument("--set", type=Path, required=True, help="low-quality set, made by `patchvsr degrade`")
    try:
        run(parser.parse_args())
    except PatchVSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
