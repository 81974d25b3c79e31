"""Footage of a few kilobytes, and a packed folder of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from patchvsr.training.clips import ClipSource
from patchvsr.training.packing import pack

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


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, one below a folder; a lossless video of one shot; a video that is none; and a text."""
    folder = tmp_path_factory.mktemp("footage")
    (folder / "more").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(folder / "photo.png")
    Image.fromarray(pixels[1]).save(folder / "more" / "photo.webp", lossless=True)
    write_video(folder / "video.mkv", one_shot(12, seed=1))
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "notes.txt").write_text("not footage")
    return folder


@pytest.fixture(scope="session")
def source(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    packed = tmp_path_factory.mktemp("packed")
    pack(footage, packed)
    return ClipSource(packed)
