"""Names of image sequences: a folder, a pattern such as `out/%06d.png`, or one image.

A pattern holds one number in `printf` notation: `%d`, or `%04d` for at least four digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from patchvsr.errors import InputError, OutputError, SettingsError

IMAGE_SUFFIXES = (".png", ".exr")
DEFAULT_PATTERN = "%06d.png"
_PLACEHOLDER = re.compile(r"%0?([0-9]*)d")


def is_sequence(path: str | Path) -> bool:
    """Return whether an input path means images: an existing folder, or a name with an image suffix."""
    file = Path(path)
    return file.is_dir() or file.suffix.lower() in IMAGE_SUFFIXES


def means_sequence(path: str | Path) -> bool:
    """Return whether an output path means images: as for input, or a name without a suffix, for a new folder."""
    return is_sequence(path) or not Path(path).suffix


def split_pattern(path: str | Path) -> tuple[Path, str | None]:
    """Return (folder, file name pattern); the pattern is None for a folder alone.

    For output, `pattern or DEFAULT_PATTERN` names the images. Raises SettingsError if a pattern has several numbers.
    """
    file = Path(path)
    if file.is_dir() or file.suffix.lower() not in IMAGE_SUFFIXES:
        return file, None
    if len(_PLACEHOLDER.findall(file.name)) > 1:
        raise SettingsError(f"{path}: a pattern holds one number; leave one of its placeholders")
    return file.parent, file.name


def image_name(pattern: str, number: int) -> str:
    """Return the name of image `number`, from 1; raise OutputError if a name without a number is used twice."""
    if not _PLACEHOLDER.search(pattern):
        if number > 1:
            raise OutputError(
                f"{pattern}: one image holds one frame; give a pattern such as out/%06d.png or a video name"
            )
        return pattern
    # Not the % operator, because any other percent sign is literal.
    return _PLACEHOLDER.sub(lambda found: f"{number:0{int(found[1] or 1)}d}", pattern)


def matching_images(folder: Path, pattern: str | None) -> list[Path]:
    """Return the images in a folder that match a pattern (None: all), in natural order (2 before 10)."""
    if not folder.is_dir():
        return []
    ending = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
    matches = re.compile(_regex(pattern) if pattern else rf".*(?i:{ending})", re.DOTALL)
    # Hidden files are thumbnails and leftovers, never frames.
    files = [f for f in folder.iterdir() if f.name[0] != "." and matches.fullmatch(f.name) and f.is_file()]
    return sorted(files, key=natural_order)


def output_images(path: str | Path) -> list[Path]:
    """Return the existing images of an output of this name, in order."""
    folder, pattern = split_pattern(path)
    return matching_images(folder, pattern or DEFAULT_PATTERN)


def list_images(path: str | Path) -> list[Path]:
    """Return the files of an input sequence in order; raise InputError if there are none, or of two formats."""
    folder, pattern = split_pattern(path)
    if not folder.is_dir():
        raise InputError(f"{path}: no such folder; check the path")
    files = matching_images(folder, pattern)
    if not files:
        raise InputError(f"{path}: no PNG or EXR image found; give a folder of images or a pattern such as in/%06d.png")
    kinds = {file.suffix.lower(): file.name for file in files}
    if len(kinds) > 1:
        names = " and ".join(kinds[suffix] for suffix in sorted(kinds))
        raise InputError(f"{path}: holds images of two kinds ({names}); give a pattern such as in/%06d.png")
    return files


def numbering_notice(files: Sequence[Path]) -> str | None:
    """Return a line for the user if the image numbers are not consecutive, else None."""
    gaps = []
    for first, second in pairwise(files):
        (name, number), (next_name, next_number) = _numbered(first), _numbered(second)
        if name != next_name:
            gaps.append(f"from {first.name} to {second.name}")
        elif next_number - number != 1:
            gaps.append(f"from {number} to {next_number}")
    if not gaps:
        return None
    more = f", and {len(gaps) - 3} more gaps" if len(gaps) > 3 else ""
    return f"the image numbers skip {', '.join(gaps[:3])}{more}; all images are taken in this order as if without gaps"


def _regex(pattern: str) -> str:
    """Return a regular expression that matches exactly the names that `image_name` returns."""
    stem, suffix = Path(pattern).stem, Path(pattern).suffix
    ending = rf"(?i:{re.escape(suffix)})"
    found = _PLACEHOLDER.search(stem)
    if not found:
        return re.escape(stem) + ending
    width = int(found[1] or 1)
    number = rf"(?:[0-9]{{{width}}}|[1-9][0-9]{{{width},}})"
    return re.escape(stem[: found.start()]) + number + re.escape(stem[found.end() :]) + ending


def natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a natural sort key; names that differ only in leading zeros are ordered by their text."""
    parts = re.split(r"([0-9]+)", file.name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)], file.name


def _numbered(file: Path) -> tuple[str, int]:
    """Return the name with its last number replaced by `#`, and that number (0 if there is none)."""
    found = re.search(r"([0-9]+)([^0-9]*)$", file.stem)
    return (file.stem[: found.start()] + "#" + found[2], int(found[1])) if found else (file.stem, 0)
