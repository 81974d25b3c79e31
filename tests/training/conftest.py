"""Footage of a few kilobytes, and a packed folder of it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from patchvsr.training.clips import ClipSource, pack

WIDTH, HEIGHT = 144, 160


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, one below a folder; a lossless video; a video that is none; and a text."""
    folder = tmp_path_factory.mktemp("footage")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(folder / "photo.png")
    Image.fromarray(pixels[1]).save(folder / "more" / "photo.webp", lossless=True)
    with av.open(str(folder / "video.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for frame in rng.integers(0, 256, (12, HEIGHT, WIDTH, 3), dtype=np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "notes.txt").write_text("not footage")
    return folder


@pytest.fixture(scope="session")
def source(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    packed = tmp_path_factory.mktemp("packed")
    pack(footage, packed)
    return ClipSource(packed)
