"""Count false alarms of the frame check on real footage, and which planted faults it finds.

python benchmarks/false_alarms.py --data /path/to/data --keep runs/false_alarms.pickle
python benchmarks/false_alarms.py --keep runs/false_alarms.pickle      # the tables again, from what was kept

Every video below the folder is downscaled by 4, clean and by the full RealBasicVSR degradation, and restored with
restoration 0 and 1 at 0 steps; every eighth also at 1 step. Each restored frame is compared with its input as decoded
and after colour matching, bicubic frames too, and originals are encoded with several codecs and compared. The faults
of FAULTS are planted into the first frame of each clip, as decoded and after colour matching.

Prints the largest values of frames without a fault beside the limits, then how many faults give an alarm. The column
"hidden" is for faults of the decoder if only the frame after colour matching were checked.
"""

import argparse
import pickle
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Generator, Tensor

from patchvsr.degradation.degrade import BICUBIC, Degradation, degrade
from patchvsr.errors import PatchVSRError
from patchvsr.media.color import BT709, LIMITED, ColorConverter, ColorTags
from patchvsr.media.tensors import read_rgb
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.color_match import match_color_
from patchvsr.pixels.compare import (
    COARSE,
    DECODED,
    ENCODED,
    ENCODED_CELL_PX,
    MATCHED,
    UNMATCHED,
    compare,
    find_fault,
    grid_of,
    size_of,
    thumbnail,
)
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

SCALE = 4
SUFFIXES = (".mp4", ".mkv")
INPUTS = {"clean": BICUBIC, "degraded": Degradation().at(1.0)}
# (restoration, steps); the last only for every eighth clip.
RUNS = ((0.0, 0), (1.0, 0), (0.5, 1))


def moved(frame: Tensor, x: int, y: int) -> Tensor:
    """Shift a frame (3, H, W) to the right and down, repeating its edge."""
    height, width = frame.shape[-2:]
    rows = (torch.arange(height) - y).clamp(0, height - 1)
    columns = (torch.arange(width) - x).clamp(0, width - 1)
    return frame[:, rows][:, :, columns]


def tinted(frame: Tensor, gains: tuple[float, float, float]) -> Tensor:
    """Multiply the channels of a frame (3, H, W) in [0, 1]."""
    return (frame * frame.new_tensor(gains)[:, None, None]).clamp(0, 1)


def lifted(frame: Tensor, levels: tuple[float, float, float]) -> Tensor:
    """Add levels of 255 to the channels of a frame (3, H, W) in [0, 1]."""
    return (frame + frame.new_tensor(levels)[:, None, None] / 255).clamp(0, 1)


def tile_black(frame: Tensor) -> Tensor:
    """Make the right lower part of a frame (3, H, W), a quarter of each side, black."""
    frame = frame.clone()
    frame[:, -frame.shape[1] // 4 :, -frame.shape[2] // 4 :] = 0
    return frame


# What is done to a restored frame (3, H, W) in [0, 1], given a frame of another clip.
FAULTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "black": lambda frame, other: torch.zeros_like(frame),
    "mean colour": lambda frame, other: frame.mean((1, 2), keepdim=True).expand_as(frame),
    "black corner, 1/16": lambda frame, other: tile_black(frame),
    "another clip": lambda frame, other: other,
    "BGR": lambda frame, other: frame.flip(0),
    "GBR": lambda frame, other: frame.roll(-1, 0),
    "upside down": lambda frame, other: frame.flip(1),
    "mirrored": lambda frame, other: frame.flip(2),
    **{f"shift {n} px right": lambda frame, other, n=n: moved(frame, n, 0) for n in (1, 2, 4, 8, 16, 32)},
    **{f"shift {n} px down": lambda frame, other, n=n: moved(frame, 0, n) for n in (1, 2, 4, 8, 16, 32)},
    "red x 1.05": lambda frame, other: tinted(frame, (1.05, 1, 1)),
    "red x 1.1": lambda frame, other: tinted(frame, (1.1, 1, 1)),
    "blue x 0.9": lambda frame, other: tinted(frame, (1, 1, 0.9)),
    "all x 0.9": lambda frame, other: tinted(frame, (0.9, 0.9, 0.9)),
    "red + 2 levels": lambda frame, other: lifted(frame, (2, 0, 0)),
    "red + 4 levels": lambda frame, other: lifted(frame, (4, 0, 0)),
    "all + 4 levels": lambda frame, other: lifted(frame, (4, 4, 4)),
    "limited as full range": lambda frame, other: ((frame * 255 - 16) / 219).clamp(0, 1),
    "full as limited range": lambda frame, other: (frame * 219 + 16) / 255,
    "inverted": lambda frame, other: 1 - frame,
}
# Encoder, decoder, pixel format, options.
ENCODERS = {
    "encoded: h264, crf 16": ("libx264", "h264", "yuv420p", {"crf": "16", "x264-params": "no-mbtree=1"}),
    "encoded: h264 10 bits, crf 16": ("libx264", "h264", "yuv420p10le", {"crf": "16", "x264-params": "no-mbtree=1"}),
    "encoded: hevc, crf 18": ("libx265", "hevc", "yuv420p", {"crf": "18", "x265-params": "log-level=error"}),
    "encoded: vp9, crf 24": ("libvpx-vp9", "vp9", "yuv420p", {"crf": "24", "b": "0", "cpu-used": "4"}),
    "encoded: h264, crf 40": ("libx264", "h264", "yuv420p", {"crf": "40", "x264-params": "no-mbtree=1"}),
    "encoded: h264, crf 51": ("libx264", "h264", "yuv420p", {"crf": "51", "x264-params": "no-mbtree=1"}),
}
# What is printed about frames without a fault: rows, and the limits that apply to them.
STAGES = [("decoded", DECODED), ("restored", MATCHED), ("decoded", UNMATCHED)]
STAGES += [(name, COARSE if name.endswith(("40", "51")) else ENCODED) for name in ENCODERS]
Rows = dict[str, list[np.ndarray]]  # thumbnails of every frame by version; with |input, of their inputs


def sources(folder: Path) -> list[Path]:
    """Return all videos below a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def read(path: Path, frames: int, crop: tuple[int, int]) -> Tensor:
    """Return the first frames (F, 3, H, W) in [0, 1], cropped in the middle to at most `crop` and whole LQ pixels."""
    clip = torch.stack(list(read_rgb(path, max_frames=frames)))
    height, width = (min(side, limit) // SCALE * SCALE for side, limit in zip(clip.shape[-2:], crop, strict=True))
    top, left = (clip.shape[-2] - height) // 2, (clip.shape[-1] - width) // 2
    return clip[..., top : top + height, left : left + width]


def arrays(frames: Tensor) -> list[np.ndarray]:
    """Return frames (F, 3, H, W) in [0, 1] as in a job: (H, W, 3) of 8 bits."""
    return list(frames.mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy())


def encoded(
    frames: Sequence[np.ndarray], grid: Size, encoder: str, decoder: str, pix_fmt: str, options: dict[str, str]
) -> list[np.ndarray]:
    """Encode frames, decode them again and return the thumbnails."""
    converter = ColorConverter(ColorTags(matrix=BT709, range=LIMITED), chroma_unsited=True)
    context, back = av.CodecContext.create(encoder, "w"), av.CodecContext.create(decoder, "r")
    context.height, context.width = frames[0].shape[:2]
    context.pix_fmt, context.time_base, context.options, context.thread_count = pix_fmt, Fraction(1, 25), options, 1
    packets = []
    for number, rgb in enumerate(frames):
        frame = converter.from_rgb(rgb, pix_fmt)
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [converter.to_cells(frame, grid) for packet in [*packets, None] for frame in back.decode(packet)]


def versions(pipeline: PatchVSRPipeline, lq: Tensor, other: Tensor, runs: tuple[tuple[float, int], ...]) -> Rows:
    """Return the thumbnails of the input and of every version of the output, frame by frame."""
    source = Size.of(lq)
    grid, canvas = grid_of(source), resize_bicubic(lq, Size(source.width * SCALE, source.height * SCALE))
    other = resize_bicubic(other[:1], Size.of(canvas))[0]
    inputs = [thumbnail(frame, grid) for frame in arrays(lq)]
    found: Rows = {}

    def add(name: str, frames: Tensor) -> None:
        found.setdefault(name, []).extend(thumbnail(frame, grid) for frame in arrays(frames))
        found.setdefault(f"{name}|input", []).extend(inputs[: len(frames)])

    def match(frames: Tensor) -> Tensor:
        video = frames.transpose(0, 1) * 2 - 1
        return match_color_(video, canvas[: len(frames)].transpose(0, 1) * 2 - 1, source).transpose(0, 1).add(1).div(2)

    add("restored", canvas)  # bicubic
    for number, (restoration, steps) in enumerate(runs):
        frames = pipeline(lq, num_inference_steps=steps, restoration=restoration, color_match=False).frames
        add("decoded", frames)
        add("restored", match(frames.clone()))
        for name, fault in FAULTS.items() if number == 0 else ():
            spoiled = fault(frames[0], other)[None]
            add(f"decoded: {name}", spoiled)
            add(f"hidden: {name}", match(spoiled.clone()))
            add(f"restored: {name}", fault(match(frames[:1].clone())[0], other)[None])
    return found


def encodings(clip: Tensor) -> Rows:
    """Return the thumbnails of the original and of what every encoder makes of it."""
    originals, found = arrays(clip), {}
    grid = grid_of(size_of(originals[0]), min_cell_px=ENCODED_CELL_PX)
    for name, settings in ENCODERS.items():
        found[name] = encoded(originals, grid, *settings)
        found[f"{name}|input"] = [thumbnail(rgb, grid) for rgb in originals]
    return found


def collect(args: argparse.Namespace) -> Rows:
    """Restore and encode every clip of the folder."""
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    width, height = map(int, args.crop.split("x"))
    paths, rows = sources(args.data), {}
    other = read(paths[-1], 1, (height, width))
    for number, path in enumerate(paths):
        clip = read(path, args.frames, (height, width))
        groups = [encodings(clip)]
        for settings in INPUTS.values():
            lq = degrade(clip, SCALE, Generator().manual_seed(number), settings)
            groups.append(versions(pipeline, lq, other, RUNS if number % 8 == 0 else RUNS[:2]))
        for group in groups:
            for name, pictures in group.items():
                rows.setdefault(name, []).extend(pictures)
        other = clip
        print(f"{number + 1}/{len(paths)} {path.name}", file=sys.stderr, flush=True)
    return rows


def print_tables(rows: Rows, size: Size) -> None:
    """Print the largest values without a fault, then the share of alarms for every fault."""
    print("| frames without a fault | frames | tint | block | change | shift | alarms |", "|---" * 7 + "|", sep="\n")
    for name, limits in STAGES:
        pairs = list(zip(rows[f"{name}|input"], rows[name], strict=True))
        found = [compare(given, made) for given, made in pairs]
        alarms = sum(find_fault(given, made, limits, size) is not None for given, made in pairs)
        shifts = [max(map(abs, one.shift)) for one in found]
        values = [[one.tint for one in found], [one.block for one in found], [one.change for one in found], shifts]
        allowed = (limits.tint, limits.block, limits.change, limits.shift)
        cells = [f"{np.max(column):.3g} of {limit:g}" for column, limit in zip(values, allowed, strict=True)]
        print(f"| {name} | {len(pairs)} | {' | '.join(cells)} | {alarms} |")
    print("\n| fault | in decoder | hidden | in colour match |", "|---" * 4 + "|", sep="\n")
    for name in FAULTS:
        cells = []
        for stage, limits in (("decoded", DECODED), ("hidden", MATCHED), ("restored", MATCHED)):
            version = f"{stage}: {name}"
            pairs = list(zip(rows[f"{version}|input"], rows[version], strict=True))
            alarms = sum(find_fault(given, made, limits, size) is not None for given, made in pairs)
            cells.append(f"{alarms} of {len(pairs)}")
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of original videos, searched with all its subfolders")
    parser.add_argument("--frames", type=int, default=3, help="number of first frames to use of every clip")
    parser.add_argument("--crop", default="480x288", help="largest part of the original to use, from its middle")
    parser.add_argument("--model", default="mini", help="bundled name, model folder, or Hub name")
    parser.add_argument("--keep", type=Path, required=True, help="file for the thumbnails; read if there is no --data")
    args = parser.parse_args()
    try:
        if args.data is not None:
            args.keep.parent.mkdir(parents=True, exist_ok=True)
            rows = collect(args)
            args.keep.write_bytes(pickle.dumps((rows, args.crop)))
        rows, crop = pickle.loads(args.keep.read_bytes())
        print_tables(rows, Size(*map(int, crop.split("x"))))
    except PatchVSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
