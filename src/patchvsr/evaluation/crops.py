"""The worst frames of an evaluation, and the worst places in them, as pictures for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from patchvsr.media import open_reader

CROP_PX = 160
# Scores by which a frame is the worst of its clip; the first that was measured decides.
RANKED_BY = ("features", "psnr_y", "vmaf")

FramesAt = Callable[[str, Iterable[int]], Mapping[int, np.ndarray]]


@dataclass(frozen=True)
class WorstFrame:
    """A frame of an output, and crops of it, its original and its input, as data URIs by role."""

    method: str
    clip: str
    frame: int
    label: str
    value: float
    pictures: Mapping[str, str]


def frames_at(path: str, indices: Iterable[int]) -> dict[int, np.ndarray]:
    """Read frames of a file by number, (H, W, 3) uint8, in one pass."""
    wanted, found = set(indices), {}
    with open_reader(Path(path)) as reader:
        for index, frame in enumerate(reader):
            if index in wanted:
                found[index] = frame.rgb if frame.rgb.dtype == np.uint8 else (frame.rgb // 257).astype(np.uint8)
            if len(found) == len(wanted):
                break
    return found


def worst_frames(report: Mapping[str, Any], limit: int, frames_at: FramesAt = frames_at) -> list[WorstFrame]:
    """Return the worst frame of every clip and method, the worst first, at most `limit`. Every file is read once."""
    name = next((name for name in RANKED_BY if any(name in record["per_frame"] for record in report["clips"])), None)
    score = next((score for score in report["scores"] if score["name"] == name), None)
    if score is None:
        return []
    sign = 1 if score["better"] == "higher" else -1
    worst = []
    for record in report["clips"]:
        values = [(sign * value, index) for index, value in _known(record["per_frame"].get(name, ()))]
        if values and "original" in record["files"]:
            value, index = min(values)
            worst.append((value, index * record["settings"]["every"], record))
    worst = sorted(worst, key=lambda found: found[:2])[:limit]
    pictures = _pictures_of([(record, frame) for _, frame, record in worst], frames_at)
    return [
        WorstFrame(record["method"], record["clip"], frame, score["label"], sign * value, shown)
        for (value, frame, record), shown in zip(worst, pictures, strict=True)
    ]


def worst_place(output: np.ndarray, original: np.ndarray) -> tuple[int, int]:
    """Return top and left of the crop (CROP_PX) in which two frames (H, W, 3) uint8 differ most."""
    difference = torch.from_numpy(np.abs(output.astype(np.float32) - original).mean(axis=2))[None, None]
    crop = [min(CROP_PX, side) for side in difference.shape[-2:]]
    means = F.avg_pool2d(difference, crop, stride=8)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return 8 * row, 8 * column


def _known(values: Sequence[float | None]) -> Iterable[tuple[int, float]]:
    return ((index, value) for index, value in enumerate(values) if value is not None)


def _pictures_of(worst: Sequence[tuple[Mapping[str, Any], int]], frames_at: FramesAt) -> list[dict[str, str]]:
    """Return the pictures of frames in their order, made clip by clip, as methods share originals and inputs."""
    wanted: dict[str, set[int]] = {}
    for record, frame in worst:
        for file in record["files"].values():
            wanted.setdefault(file["path"], set()).add(frame)

    @lru_cache(maxsize=3)  # an output, its original and its input
    def frames_of(path: str) -> Mapping[int, np.ndarray]:
        return frames_at(path, wanted[path])

    by_clip = sorted(range(len(worst)), key=lambda index: worst[index][0]["clip"])
    made = {index: _pictures(*worst[index], frames_of) for index in by_clip}
    return [made[index] for index in range(len(worst))]


def _pictures(
    record: Mapping[str, Any], frame: int, frames_of: Callable[[str], Mapping[int, np.ndarray]]
) -> dict[str, str]:
    frames = {role: frames_of(file["path"])[frame] for role, file in record["files"].items()}
    output = frames["output"]
    height, width = output.shape[:2]
    original = frames["original"] = frames["original"][:height, :width]
    if "lq" in frames:
        frames["lq"] = np.asarray(Image.fromarray(frames["lq"]).resize((width, height), Image.Resampling.NEAREST))
    top, left = worst_place(output, original)
    names = {"lq": "input", "output": "output", "original": "original"}
    return {
        name: _data_uri(frames[role][top : top + CROP_PX, left : left + CROP_PX])
        for role, name in names.items()
        if role in frames
    }


def _data_uri(rgb: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
