"""Measure how far restored frames differ from their input at a small size, and which planted faults are found.

python benchmarks/false_alarms.py --data /path/to/data --frames 5 --keep runs/false_alarms.npz
python benchmarks/false_alarms.py --keep runs/false_alarms.npz      # the tables again, from what was kept

Every video and photo below the folder is downscaled by 4, clean and by the full RealBasicVSR degradation, and restored
with restoration 0 and 1 at 0 steps. Every eighth is also restored at 1 step. Frames larger than --crop are cropped, unless it
is 0. Each restored frame is compared with its input as decoded and after colour matching, also after every fault of
FAULTS. Prints the largest values of frames without a fault beside the limits, then how many alarms each fault gives.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from patchvsr.degradation.degrade import BICUBIC, Degradation, degrade
from patchvsr.media.lossless import read_frames
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.color_match import match_color_
from patchvsr.pixels.compare import DECODED, RESTORED, Limits, compare, find_fault, grid_of, thumbnail
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

SCALE = 4
SUFFIXES = (".mp4", ".mkv")
INPUTS = {"clean": BICUBIC, "degraded": Degradation().at(1.0)}
# (restoration, steps); the second pair only for every eighth clip, because a step takes as long as decoding.
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
Rows = dict[str, list[np.ndarray]]  # name of the version: thumbnails of every frame


def sources(folder: Path) -> list[Path]:
    """Return all videos and photos below a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def read(path: Path, frames: int, crop: tuple[int, int]) -> Tensor:
    """Return the first frames (F, 3, H, W) in [0, 1], cropped in the middle to at most `crop` and whole LQ pixels."""
    if path.suffix in (".jpg", ".png"):
        clip = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255
    else:
        clip = torch.stack([frame for frame, _ in read_frames(path, max_frames=frames)])
    height, width = (min(side, limit) // SCALE * SCALE for side, limit in zip(clip.shape[-2:], crop, strict=True))
    top, left = (clip.shape[-2] - height) // 2, (clip.shape[-1] - width) // 2
    return clip[..., top : top + height, left : left + width]


def thumbnails(frames: Tensor, grid: Size) -> list[np.ndarray]:
    """Reduce frames (F, 3, H, W) in [0, 1], rounded to 8 bits as in a job."""
    arrays = frames.mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [thumbnail(array, grid) for array in arrays]


def versions(pipeline: PatchVSRPipeline, lq: Tensor, other: Tensor, runs: tuple[tuple[float, int], ...]) -> Rows:
    """Return the thumbnails of the input and of every version of the output, frame by frame."""
    source = Size.of(lq)
    grid, canvas = grid_of(source), resize_bicubic(lq, Size(source.width * SCALE, source.height * SCALE))
    other = resize_bicubic(other[:1], Size.of(canvas))[0]
    inputs, found = thumbnails(lq, grid), {}

    def add(name: str, frames: Tensor) -> None:
        found.setdefault(name, []).extend(thumbnails(frames, grid))
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


def collect(args: argparse.Namespace) -> Rows:
    """Restore every clip of the folder."""
    pipeline = PatchVSRPipeline.from_pretrained(args.model, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    paths, rows, crop = sources(args.data), {}, tuple(map(int, reversed(args.crop.split("x"))))
    other = read(paths[-1], 1, crop)
    for number, path in enumerate(paths):
        clip = read(path, args.frames, crop)
        for name, settings in INPUTS.items():
            lq = degrade(clip, SCALE, Generator().manual_seed(number), settings)
            runs = RUNS if number % 8 == 0 and len(clip) > 1 else RUNS[:2]
            for version, found in versions(pipeline, lq, other, runs).items():
                rows.setdefault(version, []).extend(found)
                rows.setdefault(f"{version}|name", []).extend([np.array(f"{path.name} {name}")] * len(found))
        other = clip
        print(f"{number + 1}/{len(paths)} {path.name}", file=sys.stderr, flush=True)
    return rows
