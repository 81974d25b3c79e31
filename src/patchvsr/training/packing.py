"""Decode footage and photos once into the arrays of `shards`, so that training never waits for a decoder.

Arrays are named by the content hash of their source, so identical files are packed once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F

from patchvsr.errors import InputError, OutputError, SettingsError
from patchvsr.media import open_reader
from patchvsr.media.shots import mark_cuts
from patchvsr.media.suffixes import VIDEO_SUFFIXES
from patchvsr.training.shards import INDEX, Index, Shard, write_array

logger = logging.getLogger(__name__)

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MAX_SHARD_FRAMES = 120
_SAVE_EVERY_S = 10
_UNREADABLE = (InputError, av.FFmpegError, ValueError)


@dataclass(frozen=True)
class PackReport:
    """Summary of the given data in the packed folder, whether packed by this call or an earlier one.

    files, shots, frames: a photo counts as one of each. skipped: unreadable files. too_short: number of shots omitted.
    """

    files: int
    shots: int
    frames: int
    skipped: tuple[str, ...]
    too_short: int


def pack(data: Path, packed: Path, *, max_side: int | None = None, min_frames: int = 5) -> PackReport:
    """Decode `data` into the folder `packed`, adding to its contents.

    data: a folder, searched recursively, or a `.jsonl` file with one object per line, {"video": path} or
        {"image": path}, optionally with "caption"; relative paths start at the folder of the list.
    max_side: larger pictures are downscaled with antialiasing until their shorter side has this many pixels.
    min_frames: shorter shots are omitted. Shots are split every 120 frames; a shorter remainder is omitted too.

    Files that are already packed are not decoded again, so the same command resumes an interrupted pack. Pictures are
    stored as displayed (rotation metadata is applied, mirroring is not), in 8 bits, with the transfer curve of their
    source.

    Raises InputError (nothing usable, or a malformed line in the list), SettingsError (the folder was packed with other
    settings) and OutputError (the folder cannot be written).
    """
    if not data.exists():
        raise InputError(f"{data}: no such folder or list; give footage to pack")
    sources = list(_listed(data) if data.suffix == ".jsonl" else _found(data))
    index = _index_to_extend(packed, {"max_side": max_side, "min_frames": min_frames})
    root = str(data.resolve())
    index.roots = [*(known for known in index.roots if known != root), root]
    logger.info("packing %d files of %s into %s", len(sources), data, packed)
    try:
        packed.mkdir(parents=True, exist_ok=True)
        done, skipped = _pack_all(sources, packed, index) if sources else (set(), [])
    except OSError as error:
        raise OutputError(f"cannot write into {packed} ({error}): mend that, then run the same command") from error
    report = _report(index, done, skipped)
    if not report.files:
        raise InputError(
            f"no readable video or photo below {data}: {len(skipped)} unreadable files, {report.too_short} shots of "
            f"fewer than {min_frames} frames; give a folder of footage, or a .jsonl list"
        )
    return report


# --- what to pack -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    path: Path
    name: str
    is_photo: bool
    caption: str | None = None


def _found(folder: Path) -> Iterator[_Source]:
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix in VIDEO_SUFFIXES | PHOTO_SUFFIXES:
            yield _Source(path, path.relative_to(folder).as_posix(), suffix in PHOTO_SUFFIXES)


def _listed(listing: Path) -> Iterator[_Source]:
    with listing.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _listed_source(line, f"{listing}, line {number}", listing.parent)


def _listed_source(line: str, place: str, folder: Path) -> _Source:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}); give one object a line") from None
    kind = next((key for key in ("video", "image") if isinstance(row, dict) and key in row), None)
    if kind is None or not isinstance(row[kind], str) or not isinstance(row.get("caption"), str | None):
        raise InputError(f'{place}: give {{"video": PATH}} or {{"image": PATH}}, with "caption": TEXT or without')
    return _Source(folder / row[kind], row[kind], kind == "image", row.get("caption"))


def _index_to_extend(packed: Path, settings: dict[str, Any]) -> Index:
    if not (packed / INDEX).exists():
        return Index(settings)
    try:
        index = Index.load(packed)
    except InputError:
        logger.warning("%s was packed by another version: packing again; its old arrays can be deleted", packed)
        return Index(settings)
    if index.settings != settings:
        raise SettingsError(f"{packed} was packed with {index.settings}, not {settings}: use another folder")
    return index


# --- packing ------------------------------------------------------------------------------------------------


def _pack_all(sources: list[_Source], packed: Path, index: Index) -> tuple[set[str], list[str]]:
    """Pack all sources; return the sha256 of the files now in the pack, and the names of those skipped."""
    done, skipped, saved = set(), [], time.monotonic()
    index.complete = False
    try:
        for number, source in enumerate(sources, 1):
            try:
                done.add(_pack_source(source, packed, index))
            except _UNREADABLE as error:
                logger.warning("skipped %s: %s", source.name, error)
                skipped.append(source.name)
            if time.monotonic() - saved > _SAVE_EVERY_S:  # not after each file: the index grows with the pack
                index.save(packed)
                saved = time.monotonic()
                logger.info("packed %d of %d files", number, len(sources))
        index.complete = True
    finally:  # an interruption loses one file at most
        if index.shards:
            index.save(packed)
    return done, skipped


def _pack_source(source: _Source, packed: Path, index: Index) -> str:
    sha256 = _sha256(source.path)
    shards = index.shards.get(sha256)
    if shards is not None and all((packed / shard.path).exists() for shard in shards):
        if source.caption is not None:
            index.shards[sha256] = [replace(shard, caption=source.caption) for shard in shards]
        return sha256
    try:
        index.add(sha256, *_write_shards(source, sha256, packed, **index.settings))
    except _UNREADABLE:
        for path in packed.glob(f"{_stem(sha256)}-*"):  # shots decoded before the error
            path.unlink()
        raise
    return sha256


def _write_shards(
    source: _Source, sha256: str, packed: Path, *, max_side: int | None, min_frames: int
) -> tuple[list[Shard], int]:
    """Write the arrays of one source while decoding it; return its shards and the number of shots too short."""
    shards, too_short, first_frame = [], 0, 0
    for shot, frames in _shots(_marked_frames(source)):
        for part, piece in enumerate(_pieces(frames)):
            path = packed / f"{_stem(sha256)}-{first_frame:06d}.npy"
            count, height, width = write_array(path, (_shrunk(frame, max_side) for frame in piece))
            if count < min_frames and not source.is_photo:
                path.unlink()
                too_short += part == 0
            else:
                place = (shot, first_frame, count, height, width)
                shards.append(Shard(path.name, source.name, sha256, *place, source.caption))
            first_frame += count
    return shards, too_short


def _marked_frames(source: _Source) -> Iterator[tuple[bool, np.ndarray]]:
    """Yield frames (H, W, 3) uint8 as displayed, each with a flag that tells whether it starts a shot."""
    with open_reader(source.path) as reader:
        turns = round(reader.info.rotation / 90)  # anticlockwise, as in numpy
        frames = (np.rot90(_eight_bits(frame.rgb), turns) for frame in reader)
        # Animated images are not footage: take only the first frame.
        yield from ((True, frame) for frame in islice(frames, 1)) if source.is_photo else mark_cuts(frames)


def _shots(marked: Iterator[tuple[bool, np.ndarray]]) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    def numbered() -> Iterator[tuple[int, np.ndarray]]:
        shot = -1
        for is_first, frame in marked:
            shot += is_first
            yield shot, frame

    for shot, group in groupby(numbered(), key=itemgetter(0)):
        yield shot, (frame for _, frame in group)


def _pieces(frames: Iterator[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    for first in frames:
        yield chain([first], islice(frames, MAX_SHARD_FRAMES - 1))


def _eight_bits(rgb: np.ndarray) -> np.ndarray:
    return rgb if rgb.dtype == np.uint8 else np.rint(rgb / np.float32(257)).astype(np.uint8)


def _shrunk(frame: np.ndarray, max_side: int | None) -> np.ndarray:
    height, width = frame.shape[:2]
    if max_side is None or min(height, width) <= max_side:
        return frame
    factor = max_side / min(height, width)
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    size = (round(height * factor), round(width * factor))
    small = F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)
    return small[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def _stem(sha256: str) -> str:
    return sha256[:20]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _report(index: Index, done: set[str], skipped: list[str]) -> PackReport:
    shards = [shard for sha256 in done for shard in index.shards[sha256]]
    return PackReport(
        files=len({shard.sha256 for shard in shards}),
        shots=len({(shard.sha256, shard.shot) for shard in shards}),
        frames=sum(shard.num_frames for shard in shards),
        skipped=tuple(skipped),
        too_short=sum(index.too_short[sha256] for sha256 in done),
    )
