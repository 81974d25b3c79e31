"""Packing footage, and the windows that are cut from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from torch import Tensor

from patchvsr.errors import InputError
from patchvsr.training.clips import INDEX, ClipSource, PackedFile, pack


def index(packed: Path) -> dict[str, PackedFile]:
    entries = [PackedFile(**entry) for entry in json.loads((packed / INDEX).read_text())]
    return {entry.source: entry for entry in entries}


def packed_arrays(folder: Path, *arrays: np.ndarray, photo_share: float = 0.6) -> ClipSource:
    """A source of files (F, H, W, 3) whose pixels are known."""
    entries = [PackedFile(f"{i}.npy", f"{i}", f"{i}", *array.shape[:3]) for i, array in enumerate(arrays)]
    for entry, array in zip(entries, arrays, strict=True):
        np.save(folder / entry.path, array)
    (folder / INDEX).write_text(json.dumps([asdict(entry) for entry in entries]))
    return ClipSource(folder, photo_share=photo_share)


# --- packing ------------------------------------------------------------------------------------------------


def test_pack_decodes_photos_and_videos_and_counts_what_it_skips(footage: Path, tmp_path: Path) -> None:
    assert pack(footage, tmp_path) == 1  # broken.mp4
    entries = index(tmp_path)
    assert {name: entry.num_frames for name, entry in entries.items()} == {
        "photo.png": 1,
        "more/photo.webp": 1,
        "video.mkv": 12,
    }
    for name in ("photo.png", "more/photo.webp"):
        assert np.array_equal(np.load(tmp_path / entries[name].path)[0], np.asarray(Image.open(footage / name)))
    assert all((entry.height, entry.width) == (160, 144) for entry in entries.values())


def test_pack_continues_where_it_was_stopped(footage: Path, tmp_path: Path) -> None:
    pack(footage, tmp_path)
    entries = index(tmp_path)
    finished, lost = (tmp_path / entries[name].path for name in ("photo.png", "video.mkv"))
    written, whole = finished.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    lost.with_suffix(".partial").write_bytes(b"half of it")
    assert pack(footage, tmp_path) == 1
    assert finished.stat().st_mtime_ns == written and lost.read_bytes() == whole
    assert index(tmp_path) == entries


def test_digest_is_of_the_footage_and_not_of_its_place(source: ClipSource, footage: Path, tmp_path: Path) -> None:
    pack(footage, tmp_path)
    assert ClipSource(tmp_path).digest == source.digest
    pack(footage / "more", tmp_path)
    assert ClipSource(tmp_path).digest != source.digest


def test_refuses_folders_without_footage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable video or photo below"):
        pack(tmp_path / "data", tmp_path / "packed")
    with pytest.raises(InputError, match="pack the data first"):
        ClipSource(tmp_path)


# --- windows ------------------------------------------------------------------------------------------------


def test_windows_are_a_function_of_the_generator(source: ClipSource) -> None:
    first, again, other = (source.window(toy.seeded(seed), 5, 64, 48) for seed in (1, 1, 2))
    assert first.shape == (5, 3, 64, 48) and first.dtype == torch.float32
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all(source.window(toy.seeded(seed), 5, 64, 48).shape == first.shape for seed in range(20))


def test_refuses_windows_that_no_file_holds(source: ClipSource) -> None:
    with pytest.raises(InputError, match="no packed file holds 5 frames of 64x161"):
        source.window(toy.seeded(), 5, 161, 64)


def places(num_frames: int, height: int, width: int) -> np.ndarray:
    """Footage whose colour is its place: (frame, row, column) of every pixel."""
    grid = np.meshgrid(np.arange(num_frames), np.arange(height), np.arange(width), indexing="ij")
    return np.stack(grid, axis=-1).astype(np.uint8)


def test_video_windows_are_cut_and_not_resampled(tmp_path: Path) -> None:
    source, seen = packed_arrays(tmp_path, places(11, 40, 60)), set()
    for seed in range(60):
        clip = (source.window(toy.seeded(seed), 5, 16, 24) * 255).round()
        frame, row, column = clip[0, :, 0, 0].tolist()
        stride, step = (clip[1, 0] - frame)[0, 0].item(), (clip[0, 2, 0, 1] - column).item()
        expected = np.mgrid[0:5, 0:16, 0:24].transpose(1, 0, 2, 3) * np.array([stride, 1, step])[:, None, None]
        assert np.array_equal(clip, expected + np.array([frame, row, column])[:, None, None])
        seen.add((stride, step))
    assert seen == {(1, 1), (1, -1), (2, 1), (2, -1)}  # every second frame at times, mirrored at times


@pytest.mark.parametrize(("photo_share", "kinds"), [(0.0, {"video"}), (1.0, {"photo"}), (0.5, {"photo", "video"})])
def test_photos_take_their_share(tmp_path: Path, photo_share: float, kinds: set[str]) -> None:
    black_photo, white_video = np.zeros((1, 32, 32, 3), np.uint8), np.full((5, 32, 32, 3), 255, np.uint8)
    source = packed_arrays(tmp_path, black_photo, white_video, photo_share=photo_share)
    levels = [source.window(toy.seeded(seed), 5, 16, 16).mean().item() for seed in range(12)]
    assert {"video" if level > 0.5 else "photo" for level in levels} == kinds
    longer = source.window(toy.seeded(), 6, 16, 16)  # than the video
    assert longer.max() == 0


def camera_path(clip: Tensor) -> Tensor:
    """(F, 2) row and column that the middle of each frame shows, of footage of `places`."""
    return clip[:, 1:, clip.shape[2] // 2, clip.shape[3] // 2] * 255


def test_camera_moves_smoothly_over_a_photo(tmp_path: Path) -> None:
    source, moves = packed_arrays(tmp_path, places(1, 250, 250)), []
    for seed in range(20):
        path = camera_path(source.window(toy.seeded(seed), 9, 80, 80))
        speed = path.diff(dim=0)
        assert speed.abs().max() < 8
        assert speed.diff(dim=0).abs().max() < 0.2  # constant speed
        moves.append(speed.norm(dim=1).mean())
    assert torch.stack(moves).max() > 1


def test_camera_never_leaves_the_photo(tmp_path: Path) -> None:
    source = packed_arrays(tmp_path, np.full((1, 32, 32, 3), 255, np.uint8))
    for seed in range(20):
        assert source.window(toy.seeded(seed), 9, 32, 32).min() > 0.999


def test_whole_pixel_moves_keep_the_pixels_of_the_photo(tmp_path: Path) -> None:
    source = packed_arrays(tmp_path, places(1, 250, 250))
    exact = 0
    for seed in range(20):
        clip = source.window(toy.seeded(seed), 5, 16, 16) * 255
        exact += bool((clip - clip.round()).abs().max() < 1e-3)
    assert 4 <= exact <= 12  # 40 % of the moves
