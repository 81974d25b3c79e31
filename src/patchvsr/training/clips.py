"""Training clips, read by random access from packed footage (see `packing`).

Photos become clips through smooth random camera moves, because good photos are far more plentiful than good videos.
All draws come from a generator that the caller seeds by position, so a resumed run sees the same clips.
"""

from __future__ import annotations

import hashlib
from math import ceil, floor, hypot, pi
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Generator, Tensor

from patchvsr.degradation.draws import Draw, below, chance
from patchvsr.errors import InputError
from patchvsr.training.shards import Index, Shard

TRANSPOSED_SHARE, WHOLE_PIXEL_SHARE = 0.1, 0.4
STRIDES = {1: 0.5, 2: 0.25, 4: 0.25}  # frames of a video from one of a clip to the next: their shares

# RMS change per frame; that of a pan is drawn, so that a model also learns where the frame before is of no use. Tilt is
# the change of the perspective depth at the corner of the picture.
PAN_SPEEDS_PX = (0.5, 24.0)
SHAKE_SPEED_PX, SPIN_SPEED, ZOOM_SPEED, TILT_SPEED = 0.3, 0.003, 0.003, 0.003
MAX_TILT = 0.2
SLOW_PERIODS, SHAKE_PERIODS = (24, 96), (5, 12)  # frames


class ClipSource:
    """Draw random windows from a packed folder.

    `entries` are its arrays. `digest` depends on the footage and its division into arrays, not on its location. Arrays
    are mapped for one window at a time, so a source uses little memory and can be pickled to workers.
    """

    def __init__(self, packed: Path, *, photo_share: float = 0.6):
        """Open a packed folder. Raises InputError if it has no index or one of another version."""
        self.packed = packed
        # Sort, so that the same footage gives the same clips in any packing order.
        self.entries = sorted(Index.load(packed).entries, key=lambda entry: (entry.sha256, entry.first_frame))
        self.photo_share = photo_share
        parts = sorted(f"{e.sha256} {e.first_frame} {e.num_frames} {e.height} {e.width}" for e in self.entries)
        self.digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        shapes = np.array([(e.num_frames, e.height, e.width) for e in self.entries])
        self._lengths, self._heights, self._widths = shapes.T

    def window(self, generator: Generator, num_frames: int, height: int, width: int) -> Tensor:
        """Draw a random clip (F, 3, height, width) in [0, 1], not resampled except by camera moves.

        Videos are drawn in proportion to their length. Raises InputError if no file is large or long enough.
        """
        entry = self._choose(generator, num_frames, height, width)
        array = np.load(self.packed / entry.path, mmap_mode="r")
        transposed = chance(generator, TRANSPOSED_SHARE) and entry.height >= width and entry.width >= height
        size = (width, height) if transposed else (height, width)
        if entry.num_frames == 1:
            frames = _camera_move(array[0], generator, num_frames, *size)
        else:
            frames = _cut_video(array, generator, num_frames, *size)
        if transposed:
            frames = frames.swapaxes(1, 2)
        if chance(generator, 0.5):
            frames = frames[:, :, ::-1]
        # (F, H, W, 3) uint8 -> (F, 3, H, W) float; everything before was a view.
        return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float().div_(255)

    def check_holds(self, num_frames: int, height: int, width: int) -> None:
        """Raise InputError if no file is large and long enough for such a window."""
        self._fitting(num_frames, height, width)

    def _fitting(self, num_frames: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the photos and of the videos that hold such a window."""
        fitting = (self._heights >= height) & (self._widths >= width)
        photos = np.flatnonzero(fitting & (self._lengths == 1))
        videos = np.flatnonzero(fitting & (self._lengths > 1) & (self._lengths >= num_frames))
        if not len(photos) and not len(videos):
            raise InputError(f"no packed file holds {num_frames} frames of {width}x{height}: use smaller clips")
        return photos, videos

    def _choose(self, generator: Generator, num_frames: int, height: int, width: int) -> Shard:
        photos, videos = self._fitting(num_frames, height, width)
        if len(photos) and (not len(videos) or chance(generator, self.photo_share)):
            return self.entries[photos[below(generator, len(photos))]]
        ends = self._lengths[videos].cumsum()
        return self.entries[videos[ends.searchsorted(below(generator, int(ends[-1])), side="right")]]


def _cut_video(array: np.ndarray, generator: Generator, num_frames: int, height: int, width: int) -> np.ndarray:
    available, full_height, full_width = array.shape[:3]
    stride = Draw(generator, num_frames, 0.0).choice(STRIDES)
    while available <= stride * (num_frames - 1):
        stride //= 2
    start = below(generator, available - stride * (num_frames - 1))
    top, left = below(generator, full_height - height + 1), below(generator, full_width - width + 1)
    frames = array[start : start + stride * (num_frames - 1) + 1 : stride, top : top + height, left : left + width]
    return frames[::-1] if chance(generator, 0.5) else frames


# --- camera moves -------------------------------------------------------------------------------------------


def _camera_move(photo: np.ndarray, generator: Generator, num_frames: int, height: int, width: int) -> np.ndarray:
    """Render a camera move over a photo (H, W, 3) with bicubic sampling: (F, height, width, 3)."""
    moves = _moves(generator, num_frames, height, width)
    middle = np.array([width - 1, height - 1]) / 2
    corners = np.array([[x, y, 1] for x in (-middle[0], middle[0]) for y in (-middle[1], middle[1])]).T
    seen = moves @ corners  # (F, 3, 4)
    seen = seen[:, :2] / seen[:, 2:]
    low, high = seen.min(axis=(0, 2)), seen.max(axis=(0, 2))  # x, y, from the middle of the window

    # Place the window at whole pixels, so that whole-pixel moves stay exact.
    places = [
        _place(generator, size, *reach)
        for size, *reach in zip(photo.shape[1::-1], low + middle, high + middle, strict=True)
    ]
    centre = middle + places
    start = np.maximum(0, np.floor(centre + low) - 3).astype(int)  # margin for the bicubic kernel
    end = np.ceil(centre + high).astype(int) + 4
    part = np.ascontiguousarray(photo[start[1] : end[1], start[0] : end[0]])

    cv2.setNumThreads(1)  # workers are processes, and OpenCV's threads would not survive a fork
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for frame, move in zip(frames, _shift(centre - start) @ moves @ _shift(-middle), strict=True):
        # Reflect beyond the edge of the photo: the model would learn a black border as content.
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        cv2.warpPerspective(part, move, (width, height), frame, flags, cv2.BORDER_REFLECT_101)
    return frames


def _moves(generator: Generator, num_frames: int, height: int, width: int) -> np.ndarray:
    """Draw homographies (F, 3, 3) from window to photo, about their centres; identity at the middle of the clip."""
    slow, fast = PAN_SPEEDS_PX
    speed = slow * (fast / slow) ** torch.rand((), generator=generator).item()
    pan = _curves(generator, num_frames, 2, speed, SLOW_PERIODS)
    if chance(generator, WHOLE_PIXEL_SHARE):  # keeps the sharpness of the photo
        steps = np.diff(pan, prepend=pan[:, :1]).round().cumsum(axis=1)
        return _shift((steps - steps[:, num_frames // 2, None]).T)
    pan += chance(generator, 0.5) * _curves(generator, num_frames, 2, SHAKE_SPEED_PX, SHAKE_PERIODS)
    (spin,) = _curves(generator, num_frames, 1, SPIN_SPEED, SLOW_PERIODS)
    (zoom,) = np.exp(_curves(generator, num_frames, 1, ZOOM_SPEED, SLOW_PERIODS))
    tilt = MAX_TILT * np.tanh(_curves(generator, num_frames, 2, TILT_SPEED, SLOW_PERIODS) / MAX_TILT)
    lens = np.zeros((num_frames, 3, 3))
    lens[:, 0, 0] = lens[:, 1, 1] = zoom * np.cos(spin)
    lens[:, 1, 0] = zoom * np.sin(spin)
    lens[:, 0, 1] = -lens[:, 1, 0]
    lens[:, 2, :2] = tilt.T / (hypot(height, width) / 2)
    lens[:, 2, 2] = 1
    return _shift(pan.T) @ lens


def _curves(
    generator: Generator, num_frames: int, count: int, speed: float, periods: tuple[float, float]
) -> np.ndarray:
    """Draw smooth random curves (count, F): sums of two sines, zero at the middle of the clip."""
    time = np.arange(num_frames) - (num_frames - 1) / 2
    draw = torch.rand((2, count, 2, 1), generator=generator, dtype=torch.float64).numpy()
    period = periods[0] * (periods[1] / periods[0]) ** draw[0]
    phase = 2 * pi * draw[1]
    strength = torch.randn((count, 2, 1), generator=generator, dtype=torch.float64).numpy()
    waves = np.sin(2 * pi * time / period + phase) - np.sin(phase)
    return (speed * period / (2 * pi) * strength * waves).sum(axis=1)


def _place(generator: Generator, size: int, low: float, high: float) -> int:
    """Draw the position of a window that covers pixels `low` to `high` of `size`; centre it if it does not fit."""
    first, last = ceil(-low), floor(size - 1 - high)
    return first + below(generator, last - first + 1) if first <= last else round((size - 1 - low - high) / 2)


def _shift(offsets: np.ndarray) -> np.ndarray:
    """Return translation homographies (..., 3, 3) for offsets x, y (..., 2)."""
    matrices = np.broadcast_to(np.eye(3), (*offsets.shape[:-1], 3, 3)).copy()
    matrices[..., :2, 2] = offsets
    return matrices
