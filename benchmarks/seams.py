"""Seam scores at the patch lines for each joint mode, on a flat gradient and on a photo under a camera.

python benchmarks/seams.py --steps 1 4

1.0 is no seam. The row of the bicubic canvas shows what the material itself scores at the same lines.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import torch
from product import upscale_file
from torch import Tensor

from patchvsr.evaluation.degrade import bicubic_enlarge
from patchvsr.evaluation.lossless import LosslessWriter, read_frames
from patchvsr.evaluation.seams import SeamMeter
from patchvsr.evaluation.synthetic import flat_gradient, load_photo
from patchvsr.patches.grid import padded_length, tiling

MODES = ("auxiliary", "overlap", "shifted", "independent")
LQ_SIZE, SCALE = (180, 320), 4

# The bundled model: patches of 512x512 pixels, latents of 16x16 pixels, tokens of 2x2 latents.
PATCH, CELL_PX, TOKEN = 32, 16, 2


def clips(frames: int) -> Iterator[tuple[str, Iterator[Tensor]]]:
    """The two materials, frames (3, 180, 320) in [0, 1]."""
    yield "flat gradient", flat_gradient(LQ_SIZE, frames, levels_per_px=0.4)
    yield "photo", fast_pan(load_photo("astronaut"), frames)


def fast_pan(photo: Tensor, frames: int) -> Iterator[Tensor]:
    """Texture that crosses every patch line: a contour of the picture that rests on a line would score as a seam."""
    endless = torch.cat([photo, photo.flip(-1)], dim=-1)
    endless = torch.cat([endless, endless.flip(-2)], dim=-2)
    for index in range(frames):
        yield endless.roll((-index, -index), dims=(-2, -1))[:, : LQ_SIZE[0], : LQ_SIZE[1]]


def patch_lines(mode: str, steps: int) -> tuple[list[int], list[int]]:
    """Rows and columns, in pixels, where a patch of any step starts or ends inside the output frame."""
    height, width = (length * SCALE for length in LQ_SIZE)
    canvas = [padded_length(-(-length // CELL_PX), PATCH, TOKEN) for length in (height, width)]
    rows, columns = set(), set()
    for step in range(max(steps, 1)):
        for weighted in tiling((1, *canvas), (1, PATCH, PATCH), mode, step=step):
            rows |= {weighted.box.y0 * CELL_PX, weighted.box.y1 * CELL_PX}
            columns |= {weighted.box.x0 * CELL_PX, weighted.box.x1 * CELL_PX}
    return sorted(y for y in rows if 0 < y < height), sorted(x for x in columns if 0 < x < width)


def worst_line(frames: Iterable[Tensor], lines: tuple[list[int], list[int]]) -> str:
    """The highest score and the line it belongs to."""
    meter = SeamMeter()
    for frame in frames:
        meter.update(frame[None])
    scores = meter.scores(*lines)
    line = max(scores, key=scores.__getitem__)
    return f"{scores[line]:.3f} at {line}"


def main() -> None:
    """Upscale both clips with every mode and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1], help="sampling steps")
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    args = parser.parse_args()
    print("| clip | joint mode | steps | seam score | bicubic |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for clip, frames in clips(args.frames):
            source = folder / f"{clip}.mkv"
            with LosslessWriter(source) as writer:
                for index, frame in enumerate(frames):
                    writer.write(frame, Fraction(index, 24))
            for mode in args.modes:
                for steps in args.steps:
                    print(f"| {clip} | {mode} | {steps} | {row(source, mode, steps)} |", flush=True)


def row(source: Path, mode: str, steps: int) -> str:
    """Upscale `source`; the seam score of the result and that of the bicubic canvas."""
    lines = patch_lines(mode, steps)
    target = source.with_name(f"{source.stem} {mode} {steps}.mkv")
    upscale_file(source, target, steps=steps, joint_mode=mode)
    canvas = (bicubic_enlarge(frame[None], SCALE)[0] for frame, _ in read_frames(source))
    return f"{worst_line((frame for frame, _ in read_frames(target)), lines)} | {worst_line(canvas, lines)}"


if __name__ == "__main__":
    main()
