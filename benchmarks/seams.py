"""Measure seam scores at the patch lines for each joint mode, on a flat gradient, a moving photo and texture.

python benchmarks/seams.py --steps 1 4

A score of 1.0 means no seam, but contours and the pixel grid of the input also raise it. Control lines, which are the
borders of latent cells where no patch ends, are therefore scored too: a ratio of means of 1.0 means no seam for any
content. The bicubic canvas, which has no patches, is scored for comparison.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import torch
from product import upscale_file
from torch import Tensor

from patchvsr.degradation.lq_file import bicubic_enlarge
from patchvsr.evaluation.synthetic import flat_gradient, load_photo
from patchvsr.measures.seams import SeamMeter
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import read_rgb
from patchvsr.patches.grid import patch_lines
from patchvsr.pixels.size import Size

MODES = ("auxiliary", "overlap", "shifted", "independent")
COLUMNS = ("patch lines, worst", "other lines, worst", "ratio of means")
CLIPS = ("flat gradient", "photo", "texture")
LQ_SIZE, SCALE = Size(320, 180), 4

# The bundled model: patches of 512x512 pixels, latents of 16x16 pixels, tokens of 2x2 latents.
PATCH, CELL_PX = 32, 16


def clips(frames: int) -> Iterator[tuple[str, Iterator[Tensor]]]:
    """Yield the name and frames (3, 180, 320) in [0, 1] of each clip."""
    yield "flat gradient", flat_gradient(LQ_SIZE, frames, levels_per_px=0.4)
    yield "photo", fast_pan(load_photo("astronaut"), frames)
    yield "texture", texture(frames)


def texture(frames: int) -> Iterator[Tensor]:
    """Yield smoothed noise, new in every frame, so that contours are equally likely on and off patch lines."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(frames):
        noise = torch.randn((3, LQ_SIZE.height, LQ_SIZE.width), generator=generator)
        smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
        yield (0.5 + smooth / smooth.std() * 0.12).clamp(0, 1)


def fast_pan(photo: Tensor, frames: int) -> Iterator[Tensor]:
    """Yield a pan over a mirrored photo, because a static contour on a patch line would score as a seam."""
    endless = torch.cat([photo, photo.flip(-1)], dim=-1)
    endless = torch.cat([endless, endless.flip(-2)], dim=-2)
    for index in range(frames):
        yield endless.roll((-index, -index), dims=(-2, -1))[:, : LQ_SIZE.height, : LQ_SIZE.width]


def all_lines(mode: str, steps: int) -> tuple[list[int], list[int]]:
    """Return rows and columns, in pixels, where a patch of any step starts or ends inside the output frame."""
    size = LQ_SIZE.scaled(SCALE)
    per_step = [patch_lines(size, PATCH * CELL_PX, CELL_PX, mode, step=step) for step in range(max(steps, 1))]
    rows, columns = (sorted(set().union(*lines)) for lines in zip(*per_step, strict=True))
    return rows, columns


def control_lines(lines: tuple[list[int], list[int]]) -> tuple[list[int], list[int]]:
    """Return the borders of latent cells where no patch starts or ends."""
    sides = (length * SCALE for length in (LQ_SIZE.height, LQ_SIZE.width))
    rows, columns = (
        [at for at in range(64, side - 64, CELL_PX) if at not in taken]
        for side, taken in zip(sides, lines, strict=True)
    )
    return rows, columns


def scores_of(frames: Iterable[Tensor], lines: tuple[list[int], list[int]]) -> str:
    """Format the worst score at patch lines and at control lines, and the ratio of their means."""
    meter = SeamMeter()
    for frame in frames:
        meter.update(frame[None])
    patch, control = (list(meter.scores(*chosen).values()) for chosen in (lines, control_lines(lines)))
    ratio = (sum(patch) / len(patch)) / (sum(control) / len(control))
    return f"{max(patch):.3f} | {max(control):.3f} | {ratio:.3f}"


def main() -> None:
    """Upscale every clip with every mode and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1], help="sampling steps")
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--clips", nargs="+", choices=CLIPS, default=CLIPS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    args = parser.parse_args()
    columns = ["clip", "joint mode", "steps", *[f"{name}{what}" for name in ("", "bicubic: ") for what in COLUMNS]]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for clip, frames in clips(args.frames):
            if clip not in args.clips:
                continue
            source = folder / f"{clip}.mkv"
            with LosslessWriter(source) as writer:
                for index, frame in enumerate(frames):
                    writer.write(frame, Fraction(index, 24))
            for mode in args.modes:
                for steps in args.steps:
                    print(f"| {clip} | {mode} | {steps} | {row(source, mode, steps)} |", flush=True)


def row(source: Path, mode: str, steps: int) -> str:
    """Upscale `source` and format the scores of the result and of the bicubic canvas."""
    lines = all_lines(mode, steps)
    target = source.with_name(f"{source.stem} {mode} {steps}.mkv")
    upscale_file(source, target, steps=steps, joint_mode=mode)
    canvas = (bicubic_enlarge(frame[None], SCALE)[0] for frame in read_rgb(source))
    return f"{scores_of(read_rgb(target), lines)} | {scores_of(canvas, lines)}"


if __name__ == "__main__":
    main()
