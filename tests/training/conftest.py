"""Footage of a few kilobytes, and a packed folder of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from footage import HEIGHT, WIDTH, one_shot, write_video
from PIL import Image

from patchvsr.training import packing
from patchvsr.training.clips import ClipSource
from patchvsr.training.packing import pack


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


@pytest.fixture
def stop_at_the_video(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Packing is interrupted when it comes to the video, until `undo` is called."""
    sha256 = packing._sha256

    def interrupted(path: Path) -> str:
        if path.suffix == ".mkv":
            raise KeyboardInterrupt
        return sha256(path)

    monkeypatch.setattr(packing, "_sha256", interrupted)
    return monkeypatch
