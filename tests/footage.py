"""Made-up footage for training tests: shots without a cut, written without loss."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 144, 160


def one_shot(count: int, seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(F, H, W, 3): a square moves over a picture of noise; nothing that looks like a cut."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frames = noise[None].repeat(count, axis=0)
    for index, frame in enumerate(frames):
        place = index % (height - 16)
        frame[place : place + 16, place // 2 : place // 2 + 16] = 255 - 3 * index % 100
    return frames


def write_video(path: Path, frames: Iterable[np.ndarray], rotation: int = 0) -> Path:
    """Frames (H, W, 3) without loss, as .mkv."""
    with av.open(str(path), "w") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("ffv1", rate=24, options={"threads": "1"})
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "bgr0"
                if rotation:
                    stream.set_display_rotation(rotation)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        assert stream is not None
        container.mux(stream.encode())
    return path
