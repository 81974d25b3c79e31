"""Make and check a fixed set of low-quality clips: a folder with a record, `lq_set.json`.

Scores are comparable only on identical input. Codecs and convolutions may differ by a level between library versions,
so the record identifies the files by the hash of their pixels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av

from patchvsr import __version__, files
from patchvsr.degradation.degrade import Degradation
from patchvsr.degradation.lq_file import LqFile, pixel_digest, write_lq
from patchvsr.errors import InputError, OutputError
from patchvsr.media.layouts import content_digest, list_clips
from patchvsr.pixels.size import Size

RECORD = "lq_set.json"

# 1 had sizes as (height, width), and originals read by another decoder, which changes pixels of YUV.
FORMAT = 2


@dataclass(frozen=True)
class LqClip:
    """One clip of a set.

    source, source_sha256: path of the original in its folder, with forward slashes, and its `content_digest`.
    file: path of the low-quality clip in the set.
    """

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


def write_lq_set(
    hq_folder: Path,
    out_folder: Path,
    scale: int,
    *,
    settings: Degradation,
    seed: int = 0,
    max_frames: int | None = None,
) -> LqSet:
    """Degrade every clip of a folder into lossless files and a record; `out_folder` appears only when complete.

    The folder may have any layout of `patchvsr.media.layouts`; of a test set, its originals are degraded. A clip's
    draws depend on `seed` and on its path in the folder.

    Raises:
        InputError: there are no clips, one cannot be read, or two have the same name.
        OutputError: `out_folder` exists or cannot be written.
    """
    if out_folder.exists():
        raise OutputError(f"{out_folder} exists: choose another name, or check it with --check")
    originals = list_clips(hq_folder, "original")
    with files.reported(out_folder, lambda: None), files.new_folder(out_folder) as temporary:
        clips = []
        for name, path in originals.items():
            source, file = path.relative_to(hq_folder).as_posix(), f"{name}.mkv"
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            lq = write_lq(
                path, temporary / file, scale, max_frames=max_frames, settings=settings, seed=seed, name=source
            )
            clips.append(LqClip(source, content_digest(path), file, lq))
        made = LqSet(scale, seed, max_frames, settings, _versions(), clips)
        (temporary / RECORD).write_text(json.dumps({"format": FORMAT, **asdict(made)}, indent=1) + "\n")
    return made


def read_lq_set(folder: Path) -> LqSet:
    """Return the record of a set without checking the files; raise InputError if there is none of this format."""
    try:
        record = json.loads((folder / RECORD).read_text())
        written = record.pop("format", 1)
        if written != FORMAT:
            raise InputError(
                f"{folder / RECORD} has format {written}, and this version reads {FORMAT}: make the set again from its "
                "originals with `patchvsr degrade`"
            )
        clips = [LqClip(**clip | {"lq": _lq_file(clip["lq"])}) for clip in record["clips"]]
        return LqSet(**record | {"settings": Degradation(**record["settings"]), "clips": clips})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
        if source and (not source.exists() or content_digest(source) != clip.source_sha256):
            raise InputError(f"{source} is missing or not the file that {folder / clip.file} was made from")
    return lq_set


def _lq_file(record: dict[str, Any]) -> LqFile:
    sizes = {name: Size(*record[name]) for name in ("source_size", "hq_size")}
    return LqFile(**record | sizes)


def _versions() -> dict[str, str]:
    codecs = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    return {"patchvsr": __version__, **{name: version(name) for name in ("torch", "av", "pillow")}, **codecs}
