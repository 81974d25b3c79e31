"""Packing: what becomes an array, what is left out, and what running it again does."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from footage import one_shot, write_video
from PIL import Image

from patchvsr.errors import InputError, SettingsError
from patchvsr.training import packing
from patchvsr.training.packing import PackReport, pack
from patchvsr.training.shards import INDEX, Index, Shard


def by_source(packed: Path) -> dict[str, list[Shard]]:
    found: dict[str, list[Shard]] = {}
    for shard in Index.load(packed).entries:
        found.setdefault(shard.source, []).append(shard)
    return found


def contents(packed: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in packed.iterdir()}


def test_decodes_photos_and_videos_and_names_what_it_skips(
    footage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        report = pack(footage, tmp_path)
    assert report == PackReport(files=3, shots=3, frames=14, skipped=("broken.mp4",), too_short=0)
    assert "broken.mp4" in caplog.text and "not a readable media file" in caplog.text
    entries = by_source(tmp_path)
    assert set(entries) == {"photo.png", "more/photo.webp", "video.mkv"}
    for name in ("photo.png", "more/photo.webp"):
        (shard,) = entries[name]
        assert np.array_equal(np.load(tmp_path / shard.path)[0], np.asarray(Image.open(footage / name)))
    (shard,) = entries["video.mkv"]
    assert np.array_equal(np.load(tmp_path / shard.path, mmap_mode="r"), one_shot(12, seed=1))
    assert (shard.num_frames, shard.height, shard.width, shard.caption) == (12, 160, 144, None)


def test_cuts_at_shots_and_leaves_out_short_ones(tmp_path: Path) -> None:
    frames = np.concatenate([one_shot(count, seed, 48, 64) for seed, count in enumerate((6, 2, 9))])
    write_video(tmp_path / "a.mkv", frames)
    report = pack(tmp_path, tmp_path / "packed")
    assert report == PackReport(files=1, shots=2, frames=15, skipped=(), too_short=1)
    shards = by_source(tmp_path / "packed")["a.mkv"]
    assert [(shard.shot, shard.first_frame, shard.num_frames) for shard in shards] == [(0, 0, 6), (2, 8, 9)]
    for shard in shards:
        expected = frames[shard.first_frame : shard.first_frame + shard.num_frames]
        assert np.array_equal(np.load(tmp_path / "packed" / shard.path), expected)
    assert len(list((tmp_path / "packed").iterdir())) == 3  # two arrays and the index
    assert pack(tmp_path, tmp_path / "packed") == report  # a second run tells the same


def test_long_shots_become_several_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_SHARD_FRAMES", 10)
    write_video(tmp_path / "a.mkv", one_shot(32, 0, 48, 64))
    report = pack(tmp_path, tmp_path / "packed")
    assert report == PackReport(files=1, shots=1, frames=30, skipped=(), too_short=0)  # and a rest of two frames
    lengths = [shard.num_frames for shard in by_source(tmp_path / "packed")["a.mkv"]]
    assert lengths == [10, 10, 10]


def test_continues_where_it_was_stopped(footage: Path, tmp_path: Path) -> None:
    pack(footage, tmp_path)
    whole = contents(tmp_path)
    entries = by_source(tmp_path)
    finished, lost = (tmp_path / entries[name][0].path for name in ("photo.png", "video.mkv"))
    written = finished.stat().st_mtime_ns
    lost.rename(lost.with_name(f"{lost.name}.tmp"))
    assert pack(footage, tmp_path).files == 3
    assert finished.stat().st_mtime_ns == written and contents(tmp_path) == whole


def test_an_interruption_keeps_the_files_before_it(
    footage: Path, tmp_path: Path, stop_at_the_video: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(footage, tmp_path / "stopped")
    assert set(by_source(tmp_path / "stopped")) == {"more/photo.webp", "photo.png"}
    stop_at_the_video.undo()
    pack(footage, tmp_path / "stopped")
    pack(footage, tmp_path / "straight")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "straight")


def test_a_second_folder_is_added(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    write_video(tmp_path / "second" / "other.mkv", one_shot(7, 5, 48, 64))
    (tmp_path / "second" / "same.png").write_bytes((footage / "photo.png").read_bytes())
    pack(footage, tmp_path / "packed")
    report = pack(tmp_path / "second", tmp_path / "packed")
    assert (report.files, report.frames) == (2, 8)  # of this folder
    names = {"photo.png", "more/photo.webp", "video.mkv", "other.mkv"}
    assert set(by_source(tmp_path / "packed")) == names  # the same photo once


def test_lists_carry_captions(footage: Path, tmp_path: Path) -> None:
    rows = [
        {"video": str(footage / "video.mkv"), "caption": "a square\u2028on noise"},
        {"image": "photo.png"},
        {"video": "missing.mp4", "caption": "nothing"},
    ]
    listing = tmp_path / "list.jsonl"
    listing.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    (tmp_path / "photo.png").write_bytes((footage / "photo.png").read_bytes())
    report = pack(listing, tmp_path / "packed")
    assert (report.files, report.skipped) == (2, ("missing.mp4",))
    captions = {name: shards[0].caption for name, shards in by_source(tmp_path / "packed").items()}
    assert captions == {str(footage / "video.mkv"): "a square\u2028on noise", "photo.png": None}
    listing.write_text(json.dumps({"image": "photo.png", "caption": "noise"}))
    pack(listing, tmp_path / "packed")
    assert by_source(tmp_path / "packed")["photo.png"][0].caption == "noise"


@pytest.mark.parametrize("line", ["{", "[]", '{"caption": "a"}', '{"video": 1}', '{"video": "a.mp4", "caption": 1}'])
def test_refuses_wrong_lines_by_their_number(line: str, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"image": "a.png"}\n' + line)
    with pytest.raises(InputError, match=r"list\.jsonl, line 2: "):
        pack(tmp_path / "list.jsonl", tmp_path / "packed")


def test_a_file_that_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    shots = [one_shot(8, seed, 48, 64) for seed in range(3)]
    whole = write_video(tmp_path / "a.mkv", np.concatenate(shots)).read_bytes()
    (tmp_path / "a.mkv").write_bytes(whole[: len(whole) * 3 // 4])
    write_video(tmp_path / "b.mkv", shots[0])
    report = pack(tmp_path, tmp_path / "packed")
    assert report == PackReport(files=1, shots=1, frames=8, skipped=("a.mkv",), too_short=0)
    assert len(list((tmp_path / "packed").iterdir())) == 2


def test_pictures_are_stored_as_displayed(tmp_path: Path) -> None:
    frames = one_shot(6, 0, 48, 64)
    for rotation in (90, 180):  # anticlockwise
        write_video(tmp_path / f"{rotation}.mkv", frames, rotation)
    orientation = Image.Exif()
    orientation[274] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(frames[0]).convert("L").save(tmp_path / "photo.jpg", exif=orientation)
    pack(tmp_path, tmp_path / "packed")
    arrays = {
        name: np.load(tmp_path / "packed" / shard.path) for name, (shard,) in by_source(tmp_path / "packed").items()
    }
    assert np.array_equal(arrays["90.mkv"], np.rot90(frames, 1, axes=(1, 2)))
    assert np.array_equal(arrays["180.mkv"], np.rot90(frames, 2, axes=(1, 2)))
    expected = np.rot90(np.asarray(Image.open(tmp_path / "photo.jpg")), -1)
    assert np.abs(arrays["photo.jpg"][0, ..., 0] - expected.astype(int)).max() <= 1


def test_sixteen_bits_become_eight_and_large_pictures_small(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 40 * 60).round().astype(np.uint16).reshape(40, 60)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    pack(tmp_path, tmp_path / "packed")
    pack(tmp_path, tmp_path / "small", max_side=20)
    whole, small = (
        np.load(tmp_path / folder / by_source(tmp_path / folder)["deep.png"][0].path) for folder in ("packed", "small")
    )
    assert np.abs(whole[0, ..., 0] - levels / 257).max() <= 0.51
    assert small.shape == (1, 20, 30, 3)
    means = whole[0].reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(small[0] - means)[2:-2, 2:-2].max() < 1.5


def test_refuses_what_does_not_fit_the_folder(footage: Path, tmp_path: Path) -> None:
    pack(footage, tmp_path)
    with pytest.raises(SettingsError, match="use another folder"):
        pack(footage, tmp_path, max_side=64)


def test_packs_anew_over_another_version(footage: Path, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('[{"path": "old.npy"}]')
    with pytest.raises(InputError, match="packed by another version of patchvsr: pack again"):
        Index.load(tmp_path)
    assert pack(footage, tmp_path).files == 3
    assert len(Index.load(tmp_path).entries) == 3


def test_refuses_data_without_footage(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_video(tmp_path / "data" / "short.mkv", one_shot(3, 0, 48, 64))
    with pytest.raises(InputError, match="no readable video or photo below"):
        pack(tmp_path / "data", tmp_path / "packed")
    for data in (tmp_path / "nowhere", tmp_path / "list.jsonl"):
        with pytest.raises(InputError, match="no such folder or list"):
            pack(data, tmp_path / "packed")
    with pytest.raises(InputError, match="pack the data first"):
        Index.load(tmp_path)
