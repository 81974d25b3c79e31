"""The windows that are cut from packed footage."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from patchvsr.errors import InputError
from patchvsr.training.clips import ClipSource, _moves
from patchvsr.training.packing import pack
from patchvsr.training.shards import Index, Shard, write_array


def packed_arrays(folder: Path, *arrays: np.ndarray, photo_share: float = 0.6) -> ClipSource:
    """A source of arrays (F, H, W, 3) whose pixels are known."""
    folder.mkdir(exist_ok=True)
    index = Index({})
    for number, array in enumerate(arrays):
        name = str(number)
        shape = write_array(folder / f"{name}.npy", array)
        index.add(name, [Shard(f"{name}.npy", name, name, 0, 0, *shape)])
    index.save(folder)
    return ClipSource(folder, photo_share=photo_share)


def places(num_frames: int, height: int, width: int) -> np.ndarray:
    """Footage whose colour is its place: (frame, row, column) of every pixel."""
    grid = np.meshgrid(np.arange(num_frames), np.arange(height), np.arange(width), indexing="ij")
    return np.stack(grid, axis=-1).astype(np.uint8)


def levels(clip: Tensor) -> np.ndarray:
    """(F, 3, H, W) in [0, 1] -> 0 to 255."""
    return (clip * 255).round().long().numpy()


# --- any window ---------------------------------------------------------------------------------------------


def test_windows_are_a_function_of_the_generator(source: ClipSource) -> None:
    first, again, other = (source.window(toy.seeded(seed), 5, 64, 48) for seed in (1, 1, 2))
    assert first.shape == (5, 3, 64, 48) and first.dtype == torch.float32 and first.is_contiguous()
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all(source.window(toy.seeded(seed), 5, 64, 48).shape == first.shape for seed in range(40))


def test_refuses_windows_that_no_file_holds(source: ClipSource) -> None:
    with pytest.raises(InputError, match="no packed file holds 5 frames of 64x161"):
        source.window(toy.seeded(), 5, 161, 64)


def test_digest_is_of_the_footage_and_not_of_its_place(source: ClipSource, footage: Path, tmp_path: Path) -> None:
    pack(footage, tmp_path / "again")
    assert ClipSource(tmp_path / "again").digest == source.digest
    pack(footage / "more", tmp_path / "less")
    assert ClipSource(tmp_path / "less").digest != source.digest
    pack(footage, tmp_path / "small", max_side=64)
    assert ClipSource(tmp_path / "small").digest != source.digest


class Windows(Dataset):
    """Six windows, made by whoever asks."""

    def __init__(self, source: ClipSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return self.source.window(toy.seeded(index), 5, 64, 48)

    def all(self) -> list[Tensor]:
        return [self[index] for index in range(len(self))]


def test_workers_cut_the_same_windows(source: ClipSource) -> None:
    here = Windows(source).all()  # the parent has used OpenCV when the workers are forked
    loader = DataLoader(Windows(source), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=600)
    assert all(map(torch.equal, here, list(loader)))
    sent = pickle.dumps(source)  # what spawned workers get
    assert len(sent) < 10_000
    assert all(map(torch.equal, here, Windows(pickle.loads(sent)).all()))


# --- videos -------------------------------------------------------------------------------------------------


def test_video_windows_are_cut_and_not_resampled(tmp_path: Path) -> None:
    source, seen = packed_arrays(tmp_path, places(11, 40, 60)), set()
    for seed in range(150):
        clip = levels(source.window(toy.seeded(seed), 5, 16, 24))
        transposed = clip[0, 1, 0, 0] != clip[0, 1, 0, 1]  # rows change from left to right
        clip = clip.swapaxes(2, 3) if transposed else clip
        origin = clip[:1, :, :1, :1]
        steps = clip[1, 0, 0, 0] - origin[0, 0], clip[0, 1, 1, 0] - origin[0, 1], clip[0, 2, 0, 1] - origin[0, 2]
        signs = np.array(steps).reshape(1, 3, 1, 1)
        grid = np.mgrid[0:5, 0 : clip.shape[2], 0 : clip.shape[3]].transpose(1, 0, 2, 3)
        assert np.array_equal(clip, origin + signs * grid)
        seen.add((bool(transposed), *signs.ravel().tolist()))
    # Backwards at times, every second frame at times. 11 frames are too few for every fourth.
    assert {frame for _, frame, _, _ in seen} == {1, -1, 2, -2}
    upright = {(row, column) for transposed, _, row, column in seen if not transposed}
    turned = {(row, column) for transposed, _, row, column in seen if transposed}
    assert upright == {(1, 1), (1, -1)} and turned == {(1, 1), (-1, 1)}  # mirrored at times, never upside down


def test_long_videos_are_seen_more_often(tmp_path: Path) -> None:
    black, white = np.zeros((90, 16, 16, 3), np.uint8), np.full((10, 16, 16, 3), 255, np.uint8)
    source = packed_arrays(tmp_path, white, black)
    share = np.mean([source.window(toy.seeded(seed), 5, 8, 8).mean().item() for seed in range(300)])
    assert 0.05 < share < 0.15


@pytest.mark.parametrize(("photo_share", "kinds"), [(0.0, {"video"}), (1.0, {"photo"}), (0.5, {"photo", "video"})])
def test_photos_take_their_share(tmp_path: Path, photo_share: float, kinds: set[str]) -> None:
    black_photo, white_video = np.zeros((1, 32, 32, 3), np.uint8), np.full((5, 32, 32, 3), 255, np.uint8)
    source = packed_arrays(tmp_path, black_photo, white_video, photo_share=photo_share)
    means = [source.window(toy.seeded(seed), 5, 16, 16).mean().item() for seed in range(12)]
    assert {"video" if mean > 0.5 else "photo" for mean in means} == kinds
    longer = source.window(toy.seeded(), 6, 16, 16)  # than the video
    assert longer.max() == 0


# --- photos -------------------------------------------------------------------------------------------------


def test_camera_moves_vary_and_are_smooth() -> None:
    speeds = []
    for seed in range(60):
        moves = _moves(toy.seeded(seed), 33, 256, 256)
        assert np.array_equal(moves[16], np.eye(3))  # the middle frame is the photo itself
        corner = moves @ [127.5, 127.5, 1]
        speed = np.diff(corner[:, :2] / corner[:, 2:], axis=0)
        assert np.abs(speed).max() < 150 and np.abs(np.diff(speed, axis=0)).max() < 30
        speeds.append((np.linalg.norm(speed, axis=1).mean(), np.linalg.norm(speed - speed.mean(axis=0), axis=1).max()))
    slow, fast = np.quantile([mean for mean, _ in speeds], (0.1, 0.9))
    assert slow < 2 and fast > 15  # pixels a frame
    assert np.median([change for _, change in speeds]) > 0.5  # never one speed from end to end


def test_photo_is_sampled_where_the_camera_looks(tmp_path: Path) -> None:
    source = packed_arrays(tmp_path, places(1, 250, 250))
    for seed in range(20):
        generator = toy.seeded(seed)
        clip = levels(source.window(generator, 9, 80, 80))[:, 1:]
        middle = clip[4]
        rows_and_columns = np.sort([np.ptp(middle[0]), np.ptp(middle[1])])
        assert rows_and_columns.tolist() == [79, 79]  # unscaled, unturned
        shift = np.abs(np.diff(clip.mean(axis=(2, 3)), axis=0))
        assert shift.max() < 100


def test_whole_pixel_moves_keep_the_pixels_of_the_photo(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 200, 200, 3), dtype=np.uint8)
    where, what = packed_arrays(tmp_path / "where", places(1, 200, 200)), packed_arrays(tmp_path / "what", noise)
    exact, moving = [], 0
    for seed in range(60):
        _, rows, columns = levels(where.window(toy.seeded(seed), 9, 64, 64)).transpose(1, 0, 2, 3)
        clip = levels(what.window(toy.seeded(seed), 9, 64, 64)).transpose(0, 2, 3, 1)
        exact.append(np.array_equal(clip, noise[0][rows, columns]))
        moving += exact[-1] and np.ptp(rows[:, 0, 0]) > 0
    assert 0.2 < np.mean(exact) < 0.6  # 40 % of the moves
    assert moving > 5


def test_camera_never_shows_a_border(tmp_path: Path) -> None:
    source = packed_arrays(tmp_path, np.full((1, 32, 32, 3), 255, np.uint8))
    for seed in range(40):
        assert source.window(toy.seeded(seed), 33, 32, 32).min() == 1


def test_camera_stays_inside_a_large_photo(tmp_path: Path) -> None:
    photo = np.zeros((1, 220, 220, 3), np.uint8)
    photo[:, 3:-3, 3:-3] = 255  # a frame, of which a mirrored one would be as wide again
    source, touched = packed_arrays(tmp_path, photo), 0
    for seed in range(40):
        dark = (source.window(toy.seeded(seed), 5, 48, 48) < 0.5).all(dim=1)  # (F, H, W)
        rows, columns = dark.all(dim=2), dark.all(dim=1)
        touched += int(dark.any())
        assert max(rows.sum(dim=1).max(), columns.sum(dim=1).max()) <= 4
    assert touched < 30
