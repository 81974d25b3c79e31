"""Find clips in folders, in the layouts of common test sets. A clip is a video file or a folder of numbered images.

Names of folders tell which clips are originals and which low-quality versions, see `NAMES`. All other folders and
the file make up the name of a clip, by which its versions find each other:

- any folder of videos, or of folders of frames (SynVideo30, VideoLQ, outputs): NAME.mp4 or NAME/00000000.png
- UDM10, Vid4, SPMCS as packed by mmagic: GT/NAME/0000.png, BIx4/NAME/0000.png or BDx4/NAME/0000.png
- SPMCS as published: NAME/truth/0000.png, NAME/input4/0000.png
- REDS, REDS30: val_sharp/000/00000000.png, val_sharp_bicubic/X4/000/00000000.png; REDS4: GT, sharp_bicubic
- RealVSR: GT/0000/00000.png, LQ/0000/00000.png, or GT_test and LQ_test
- YouHQ40, MVSR4x, VideoLQ and others as packed by DOVE: GT/NAME/, LQ/NAME/; GT-Video and LQ-Video hold the same again
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple

from patchvsr.errors import InputError
from patchvsr.media.images.names import IMAGE_SUFFIXES, list_images, natural_order
from patchvsr.media.suffixes import VIDEO_SUFFIXES

Role = Literal["original", "lq", "other"]

# What names of folders mean, in lower case and without train, val or test before or after them. "other" is neither
# original nor the usual input, or it is a copy of one. None tells nothing and is no part of the clip's name.
NAMES: dict[Role | None, str] = {
    "original": "gt hr hq original originals sharp truth",
    "lq": "lq lr bix4 bdx4 input inputs input4 sharp_bicubic",
    "other": "bix2 bix3 input2 input3 blur blur_bicubic blur_comp gt-video lq-video gt_ycbcr lq_ycbcr",
    None: "x4",
}
MEANINGS = {name: role for role, names in NAMES.items() for name in names.split()} | {"": None}
_WORDS: dict[Role, str] = {"original": "originals (such as GT/)", "lq": "low-quality clips (such as LQ/)"}
_PART = re.compile(r"^(train|val|test)(_|$)|_(train|val|test)$")


class FoundClip(NamedTuple):
    """A clip below a folder; `role` is None where no folder name tells it."""

    name: str
    role: Role | None
    path: Path


def is_clip(path: Path) -> bool:
    """Return whether a path is a clip: a file, or a folder that holds numbered images itself."""
    return path.is_file() or (path.is_dir() and any(map(_is_frame, path.iterdir())))


def find_all(folder: Path) -> list[FoundClip]:
    """Return all clips below a folder in natural order, without hidden ones; raise InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder of videos, or of folders of images")
    found = [_named(path, folder) for path in _clips_below(folder)]
    if not found:
        raise InputError(
            f"no clips in {folder}: give a folder of videos ({' '.join(sorted(VIDEO_SUFFIXES))}) or of folders of "
            f"numbered images ({' '.join(IMAGE_SUFFIXES)})"
        )
    return found


def list_clips(folder: Path, role: Role | None = None) -> dict[str, Path]:
    """Return the clips below a folder by name: those of a role, or all if there are no roles or None is given.

    Raises:
        InputError: there are none, two have one name, or only some of the folders tell a role.
    """
    found = find_all(folder)
    if role is not None and any(clip.role for clip in found):
        odd = next((clip for clip in found if clip.role is None), None)
        if odd is not None:
            raise InputError(
                f"{folder}: {odd.path.relative_to(folder)} is neither among originals nor low-quality clips: "
                "take it away, or give the folder of the clips that are meant"
            )
        found = [clip for clip in found if clip.role == role]
        if not found:
            raise InputError(f"{folder} holds no {_WORDS[role]}: give the folder of the clips that are meant")
    return _by_name(folder, found)


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or for a folder of images that of their names and SHA-256 in order."""
    if path.is_dir():
        lines = (f"{content_digest(file)}  {file.name}\n" for file in list_images(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _clips_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link to a folder that it lies in
        return
    try:
        entries = sorted((entry for entry in folder.iterdir() if entry.name[0] != "."), key=natural_order)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if any(map(_is_frame, entries)):
        yield folder
    yield from (entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES and entry.is_file())
    for entry in entries:
        if entry.is_dir():
            yield from _clips_below(entry, above | {real})


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and bool(re.search(r"\d", path.stem))


def _named(path: Path, folder: Path) -> FoundClip:
    place = path.relative_to(folder)
    folders, files = (place.parts, ()) if path.is_dir() else (place.parent.parts, (path.stem,))
    role = next((role for part in folders if (role := MEANINGS.get(_word(part)))), None)
    # A folder of frames keeps a name without a role, because "train" and "test" are also what clips show.
    is_name = [_word(part) not in MEANINGS for part in folders]
    if path.is_dir() and folders and not MEANINGS.get(_word(folders[-1])):
        is_name[-1] = True
    names = [*compress(folders, is_name), *files]
    return FoundClip("/".join(names) or folder.resolve().name, role, path)


def _word(part: str) -> str:
    return _PART.sub("", part.lower())


def _by_name(folder: Path, found: list[FoundClip]) -> dict[str, Path]:
    clips: dict[str, Path] = {}
    for clip in found:
        other = clips.setdefault(clip.name, clip.path)
        if other != clip.path:
            both = " and ".join(str(path.relative_to(folder)) for path in (other, clip.path))
            raise InputError(f"{folder}: {both} are both called {clip.name}: give the folder of those that are meant")
    return clips
