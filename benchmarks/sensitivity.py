"""Show what every measure says to known faults: which of them it sees, and how strongly.

python benchmarks/sensitivity.py --data /path/to/clips --frames 12

Every clip is spoilt in each way and measured against itself. Prints a Markdown table of means over clips: a row for
each fault, from none to invented texture, and a column for each score. Clips are cut to a common size for the texture
of one on another.
"""

import argparse
import io
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from patchvsr.errors import PatchVSRError
from patchvsr.measures.meter import FrameTriple, Score
from patchvsr.measures.panel import ALL_SCORES, ClipFacts, Panel
from patchvsr.media.tensors import read_rgb, to_array

SCALE = 4
FPS = 24.0


def bicubic(clip: Tensor) -> Tensor:
    """Reduce by 4 and enlarge again."""
    height, width = clip.shape[-2:]
    small = F.interpolate(clip, (height // SCALE, width // SCALE), mode="bicubic", antialias=True)
    return F.interpolate(small, (height, width), mode="bicubic", antialias=True)


def gaussian_blur(clip: Tensor, sigma: float) -> Tensor:
    """Blur (F, 3, H, W) with a Gaussian of `sigma` pixels."""
    radius = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (weights / weights.sum()).view(1, 1, 1, -1)
    planes = F.pad(clip.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(planes, kernel), kernel.mT).view(clip.shape)


def white_noise(clip: Tensor, levels: float) -> Tensor:
    """Add independent noise of `levels` 8-bit levels to every pixel."""
    return clip + levels / 255 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))


def unsharp(clip: Tensor, amount: float) -> Tensor:
    """Sharpen with the difference to a blurred copy."""
    return clip + amount * (clip - gaussian_blur(clip, 1.5))


def shift(clip: Tensor, pixels: float) -> Tensor:
    """Move the picture to the right, by a phase in the spectrum, so that its detail stays as sharp as it is."""
    phase = torch.exp(-2j * math.pi * pixels * torch.fft.rfftfreq(clip.shape[-1]))
    return torch.fft.irfft(torch.fft.rfft(clip) * phase, clip.shape[-1])


def flicker(clip: Tensor, levels: float) -> Tensor:
    """Make every second frame brighter and the others darker, by half of `levels` each."""
    sign = 1 - 2 * (torch.arange(len(clip)) % 2)
    return clip + levels / 510 * sign.view(-1, 1, 1, 1)


def invented_texture(clip: Tensor, other: Tensor) -> Tensor:
    """Replace the finest detail by that of another clip."""
    return gaussian_blur(clip, 1.5) + other - gaussian_blur(other, 1.5)


def jpeg(clip: Tensor, quality: int) -> Tensor:
    """Compress every frame as JPEG with 4:2:0 colour."""
    return torch.stack([_jpeg_frame(frame, quality) for frame in clip])


def _jpeg_frame(frame: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(to_array(frame)).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255


# What is done to a clip, with another clip at hand.
FAULTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda clip, other: clip,
    "bicubic x4": lambda clip, other: bicubic(clip),
    "Gaussian blur, 1 px": lambda clip, other: gaussian_blur(clip, 1.0),
    "Gaussian blur, 2 px": lambda clip, other: gaussian_blur(clip, 2.0),
    "noise, 5 levels": lambda clip, other: white_noise(clip, 5),
    "noise, 15 levels": lambda clip, other: white_noise(clip, 15),
    "oversharpened": lambda clip, other: unsharp(clip, 1.5),
    "shift, 1/2 px": lambda clip, other: shift(clip, 0.5),
    "shift, 1 px": lambda clip, other: shift(clip, 1.0),
    "flicker, 4 levels": lambda clip, other: flicker(clip, 4),
    "invented texture": invented_texture,
    "JPEG, quality 20": lambda clip, other: jpeg(clip, 20),
}


# Those that need an original, and no record of how a clip was made.
METERS = (
    "psnr",
    "ssim",
    "ms-ssim",
    "vif",
    "vmaf",
    "jod",
    "features",
    "sharpness",
    "niqe",
    "warping",
    "flicker",
    "colour",
)


def measure(names: Iterable[str], clip: Tensor, original: Tensor) -> dict[str, float]:
    """Return all scores of a clip (F, 3, H, W), rounded to 8 bits as a file would be, against its original.

    The canvas is the original, so that flicker and colour are relative to it.
    """
    panel = Panel(names, ClipFacts(FPS), frozenset({"original", "canvas"}))
    if panel.missing:
        raise PatchVSRError("; ".join(panel.missing.values()))
    for frame, target in zip((clip.clamp(0, 1) * 255).round() / 255, original, strict=True):
        panel.update(FrameTriple(frame, target, target))
    return panel.result()


def read_clips(folder: Path, frames: int, side: int) -> list[Tensor]:
    """Return the first frames of every video, the middle of them, at most `side` pixels wide and high."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    clips = [torch.stack([*read_rgb(file, max_frames=frames)]) for file in files]
    height, width = (min(side, *(clip.shape[axis] for clip in clips)) // 8 * 8 for axis in (2, 3))
    return [_middle(clip, height, width) for clip in clips if len(clip) == frames]


def _middle(clip: Tensor, height: int, width: int) -> Tensor:
    top, left = (clip.shape[2] - height) // 2, (clip.shape[3] - width) // 2
    return clip[:, :, top : top + height, left : left + width]


def table(rows: dict[str, list[dict[str, float]]], scores: list[Score]) -> str:
    """Format the mean of every score over clips, one row per fault."""
    lines = [f"| fault | {' | '.join(score.label for score in scores)} |", "|---" * (1 + len(scores)) + "|"]
    for fault, clips in rows.items():
        means = [f"{np.mean([clip[score.name] for clip in clips]):.{score.digits}f}" for score in scores]
        lines.append(f"| {fault} | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of videos, at least two")
    parser.add_argument("--frames", type=int, default=12, help="first frames of each")
    parser.add_argument("--side", type=int, default=512, help="largest width and height to cut out, in pixels")
    parser.add_argument("--meters", nargs="*", choices=METERS, default=METERS)
    args = parser.parse_args()
    try:
        run(args)
    except PatchVSRError as error:
        sys.exit(str(error))


def run(args: argparse.Namespace) -> None:
    """Spoil every clip in every way."""
    clips = read_clips(args.data, args.frames, args.side)
    if len(clips) < 2:
        raise PatchVSRError(f"got {len(clips)} clips of {args.frames} frames in {args.data}: give at least two")
    rows: dict[str, list[dict[str, float]]] = {}
    for fault, spoil in FAULTS.items():
        pairs = zip(clips, clips[1:] + clips[:1], strict=True)
        rows[fault] = [measure(args.meters, spoil(clip, other), clip) for clip, other in pairs]
        print(fault, rows[fault], file=sys.stderr, flush=True)
    seen = {name for clips in rows.values() for scores in clips for name in scores}
    print(table(rows, [score for score in ALL_SCORES if score.name in seen]))


if __name__ == "__main__":
    main()
