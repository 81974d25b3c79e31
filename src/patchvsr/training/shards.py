"""Format of packed footage: `index.json` and one uncompressed, memory-mappable array (F, H, W, 3) per shot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from patchvsr import files
from patchvsr.errors import InputError

INDEX, VERSION = "index.json", 2


@dataclass(frozen=True)
class Shard:
    """Array (num_frames, height, width, 3) uint8 of a photo or of frames of one shot.

    path: relative to the index. source: file name as found or listed. sha256: digest of the source file.
    shot, first_frame: position in the source, from 0.
    """

    path: str
    source: str
    sha256: str
    shot: int
    first_frame: int
    num_frames: int
    height: int
    width: int
    caption: str | None = None


@dataclass
class Index:
    """Contents of a packed folder, keyed by the sha256 of the source.

    too_short: number of shots omitted from each source. complete: whether packing finished. roots: folders and lists
    that were packed.
    """

    settings: dict[str, Any]
    shards: dict[str, list[Shard]] = field(default_factory=dict)
    too_short: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    roots: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, packed: Path) -> Index:
        """Load the index of a packed folder. Raises InputError if it is missing or of another version."""
        try:
            content = json.loads((packed / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{packed} holds no {INDEX}: pack the data first (patchvsr pack DATA {packed})") from None
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise InputError(
                f"{packed} was packed by another version of patchvsr: pack again (patchvsr pack DATA {packed})"
            )
        shards: dict[str, list[Shard]] = {sha256: [] for sha256 in content["too_short"]}
        for entry in content["entries"]:
            shards[entry["sha256"]].append(Shard(**entry))
        return cls(
            content["settings"], shards, content["too_short"], content.get("complete", True), content.get("roots", [])
        )

    @property
    def entries(self) -> list[Shard]:
        return list(chain.from_iterable(self.shards.values()))

    def add(self, sha256: str, shards: list[Shard], too_short: int = 0) -> None:
        self.shards[sha256], self.too_short[sha256] = shards, too_short

    def save(self, packed: Path) -> None:
        """Write the index atomically."""
        content = {
            "version": VERSION,
            "settings": self.settings,
            "roots": self.roots,
            "complete": self.complete,
            "too_short": self.too_short,
            "entries": [asdict(shard) for shard in self.entries],
        }
        files.write_durably(packed / INDEX, json.dumps(content, indent=1).encode())


def write_array(path: Path, frames: Iterable[np.ndarray]) -> tuple[int, int, int]:
    """Write a stream of frames (H, W, 3) uint8 to one .npy file; return its (F, H, W)."""
    count, shape = 0, (0, 0, 0)
    with files.new_file(path) as temporary, temporary.open("wb") as file:
        for count, frame in enumerate(frames, 1):
            if count == 1:
                shape = frame.shape
                _write_header(file, (0, *shape))
            file.write(np.ascontiguousarray(frame).data)
        file.seek(0)
        _write_header(file, (count, *shape))  # same length as the first header: numpy pads for growth
    return count, shape[0], shape[1]


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
