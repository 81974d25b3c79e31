"""Make and check a fixed set of low-quality clips: a folder with a record, `lq_set.json`.

Scores are comparable only on identical input. Codecs and convolutions may differ by a level between library versions,
so the record identifies the files by the hash of their pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av

from patchvsr import __version__, files
from patchvsr.degradation.degrade import Degradation
from patchvsr.degradation.lq_file import LqFile, pixel_digest, write_lq
from patchvsr.errors import InputError, OutputError
from patchvsr.media.suffixes import VIDEO_SUFFIXES

RECORD = "lq_set.json"


@dataclass(frozen=True)
class LqClip:
    """One clip of a set: file name and hash of the original, file name of the low-quality clip, and its provenance."""

    source: str
    source_sha256: str
    file: str
    lq: LqFile


@dataclass(frozen=True)
class LqSet:
    """The record of a set; `versions` are those of the libraries that affect its pixels."""

    scale: int
    seed: int
    max_frames: int | None
    settings: Degradation
    versions: dict[str, str]
    clips: list[LqClip]


def list_videos(folder: Path) -> list[Path]:
    """Return the videos of a folder, sorted by name; raise InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder of videos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != ".")
    if not paths:
        raise InputError(f"no videos in {folder}: give a folder that holds {', '.join(sorted(VIDEO_SUFFIXES))} files")
    return paths


def write_lq_set(
    hq_folder: Path,
    out_folder: Path,
    scale: int,
    *,
    settings: Degradation,
    seed: int = 0,
    max_frames: int | None = None,
) -> LqSet:
    """Degrade every video of a folder into lossless files and a record; `out_folder` appears only when complete.

    Raises:
        InputError: there are no videos, one cannot be read, or two differ only in their suffix.
        OutputError: `out_folder` exists or cannot be written.
    """
    if out_folder.exists():
        raise OutputError(f"{out_folder} exists: choose another name, or check it with --check")
    paths = list_videos(hq_folder)
    _refuse_doubles(paths)
    with files.reported(out_folder, lambda: None), files.new_folder(out_folder) as temporary:
        clips = []
        for path in paths:
            name = f"{path.stem}.mkv"
            lq = write_lq(path, temporary / name, scale, max_frames=max_frames, settings=settings, seed=seed)
            clips.append(LqClip(path.name, file_digest(path), name, lq))
        made = LqSet(scale, seed, max_frames, settings, _versions(), clips)
        (temporary / RECORD).write_text(json.dumps(asdict(made), indent=1) + "\n")
    return made


def read_lq_set(folder: Path) -> LqSet:
    """Return the record of a set without checking the files; raise InputError if there is none."""
    try:
        record = json.loads((folder / RECORD).read_text())
        clips = [LqClip(**clip | {"lq": _lq_file(clip["lq"])}) for clip in record["clips"]]
        return LqSet(**record | {"settings": Degradation(**record["settings"]), "clips": clips})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no readable {RECORD}: make a set with `patchvsr degrade`") from error


def check_lq_set(folder: Path, hq_folder: Path | None = None) -> LqSet:
    """Check the pixels of every clip, and the original files if given, against the record; return the record.

    Raises:
        InputError: a file is missing, unreadable or differs from the record.
    """
    lq_set = read_lq_set(folder)
    for clip in lq_set.clips:
        if pixel_digest(folder / clip.file) != clip.lq.sha256:
            raise InputError(f"{folder / clip.file} does not hold the pixels of {RECORD}: make the set again")
        source = hq_folder / clip.source if hq_folder else None
        if source and (not source.is_file() or file_digest(source) != clip.source_sha256):
            raise InputError(f"{source} is missing or not the file that {folder / clip.file} was made from")
    return lq_set


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _lq_file(record: dict[str, Any]) -> LqFile:
    sizes = {name: tuple(record[name]) for name in ("source_size", "hq_size")}
    return LqFile(**record | sizes)


def _refuse_doubles(paths: Sequence[Path]) -> None:
    stems = [path.stem for path in paths]
    doubles = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubles:
        raise InputError(f"{paths[0].parent} holds two videos named {doubles[0]}: both would become {doubles[0]}.mkv")


def _versions() -> dict[str, str]:
    codecs = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    return {"patchvsr": __version__, **{name: version(name) for name in ("torch", "av", "pillow")}, **codecs}
