"""Training clips: footage and photos decoded once into a packed folder, then cut by random access.

Photos become clips through smooth random camera moves, because there are many more good photos than good videos.
Every draw comes from a generator that the caller seeds by position, so a resumed run sees the same clips.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from patchvsr.errors import InputError

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi"}
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
INDEX = "index.json"


@dataclass(frozen=True)
class PackedFile:
    """One decoded file: `path` is an array (F, H, W, 3) uint8 beside the index; a photo has one frame."""

    path: str
    source: str
    sha256: str
    num_frames: int
    height: int
    width: int


def pack(data: Path, packed: Path) -> int:
    """Decodes every video and photo below `data` into `packed`; returns how many files were skipped as unreadable.

    Running it again packs only what is new, so that an interrupted pack is continued by the same command.
    """
    packed.mkdir(parents=True, exist_ok=True)
    skipped, entries = 0, []
    for source in _media_files(data):
        name = source.relative_to(data).as_posix().replace("/", "__") + ".npy"
        try:
            if not (packed / name).exists():
                _decode_to(source, packed / name)
            frames = np.load(packed / name, mmap_mode="r")
        except (av.FFmpegError, ValueError, OSError) as error:
            logger.warning("skipped %s: %s", source, error)
            skipped += 1
            continue
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        entries.append(PackedFile(name, source.relative_to(data).as_posix(), digest, *frames.shape[:3]))
    if not entries:
        raise InputError(f"no readable video or photo below {data}: point the recipe's data at a folder of footage")
    (packed / INDEX).write_text(json.dumps([asdict(entry) for entry in entries], indent=1))
    return skipped


def _media_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES | PHOTO_SUFFIXES:
            yield path


def _decode_to(source: Path, target: Path) -> None:
    with av.open(str(source)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    temporary = target.with_suffix(".partial")
    with temporary.open("wb") as file:
        np.save(file, np.stack(frames))
    temporary.rename(target)


class ClipSource:
    """Random windows of a packed folder."""

    def __init__(self, packed: Path, *, photo_share: float = 0.6):
        if not (packed / INDEX).exists():
            raise InputError(f"{packed} holds no {INDEX}: pack the data first (patchvsr pack DATA {packed})")
        entries = [PackedFile(**entry) for entry in json.loads((packed / INDEX).read_text())]
        self.digest = hashlib.sha256("".join(sorted(entry.sha256 for entry in entries)).encode()).hexdigest()
        self.entries = entries
        self.photo_share = photo_share
        self._arrays = [np.load(packed / entry.path, mmap_mode="r") for entry in entries]

    def window(self, generator: Generator, num_frames: int, height: int, width: int) -> Tensor:
        """A random clip (F, 3, height, width) in [0, 1] that no resampling has touched, save for camera moves."""
        fitting = [i for i, e in enumerate(self.entries) if e.height >= height and e.width >= width]
        videos = [i for i in fitting if self.entries[i].num_frames >= num_frames]
        photos = [i for i in fitting if self.entries[i].num_frames == 1]
        if not videos and not photos:
            raise InputError(f"no packed file holds {num_frames} frames of {width}x{height}: use smaller clips")
        use_photo = bool(photos) and (not videos or _uniform(generator) < self.photo_share)
        chosen = photos if use_photo else videos
        array = self._arrays[chosen[_below(generator, len(chosen))]]
        cut = _camera_move if use_photo else _cut_video
        clip = cut(array, generator, num_frames, height, width)
        return clip.flip(-1) if _uniform(generator) < 0.5 else clip


def _cut_video(array: np.ndarray, generator: Generator, num_frames: int, height: int, width: int) -> Tensor:
    available, full_height, full_width = array.shape[:3]
    stride = 2 if available >= 2 * num_frames and _uniform(generator) < 0.25 else 1
    start = _below(generator, available - stride * (num_frames - 1))
    top, left = _below(generator, full_height - height + 1), _below(generator, full_width - width + 1)
    frames = array[start : start + stride * (num_frames - 1) + 1 : stride, top : top + height, left : left + width]
    return _to_clip(frames)


def _camera_move(array: np.ndarray, generator: Generator, num_frames: int, height: int, width: int) -> Tensor:
    """Pan, zoom and rotation with constant speed over one photo; sampled bicubically."""
    full_height, full_width = array.shape[1:3]
    margin = 4 * num_frames
    top = _below(generator, full_height - height + 1)
    left = _below(generator, full_width - width + 1)
    y0, y1 = max(0, top - margin), min(full_height, top + height + margin)
    x0, x1 = max(0, left - margin), min(full_width, left + width + margin)
    photo = _to_clip(array[:, y0:y1, x0:x1])

    pan = torch.randn(2, generator=generator) * 1.5  # pixels a frame
    spin = torch.randn((), generator=generator) * 0.003  # radians a frame
    zoom = torch.randn((), generator=generator) * 0.003
    if _uniform(generator) < 0.4:  # whole-pixel pans keep the photo's own sharpness
        pan, spin, zoom = pan.round(), spin * 0, zoom * 0
    time = torch.arange(num_frames, dtype=torch.float32) - (num_frames - 1) / 2
    ys = torch.arange(height, dtype=torch.float32) - (height - 1) / 2
    xs = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
    scale, angle = (1 + zoom * time).view(-1, 1, 1), (spin * time).view(-1, 1, 1)
    centre_y = (top - y0) + (height - 1) / 2 + (pan[0] * time).round(decimals=3).view(-1, 1, 1)
    centre_x = (left - x0) + (width - 1) / 2 + (pan[1] * time).round(decimals=3).view(-1, 1, 1)
    grid_y = centre_y + scale * (angle.cos() * ys.view(1, -1, 1) + angle.sin() * xs.view(1, 1, -1))
    grid_x = centre_x + scale * (angle.cos() * xs.view(1, 1, -1) - angle.sin() * ys.view(1, -1, 1))
    grid = torch.stack([2 * grid_x / max(1, x1 - x0 - 1) - 1, 2 * grid_y / max(1, y1 - y0 - 1) - 1], dim=-1)
    # Drawn clips are kept inside by reflection: a black border would be learned as content.
    moved = F.grid_sample(
        photo.expand(num_frames, -1, -1, -1),
        grid,
        mode="bicubic",
        padding_mode="reflection",
        align_corners=True,
    )
    return moved.clamp(0, 1)


def _to_clip(frames: np.ndarray) -> Tensor:  # (F, H, W, 3) uint8 -> (F, 3, H, W) float
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float().div_(255)


def _uniform(generator: Generator) -> float:
    return torch.rand((), generator=generator).item()


def _below(generator: Generator, bound: int) -> int:
    return int(torch.randint(bound, (), generator=generator).item())
