"""Names of image sequences: a folder, a pattern such as `out/%06d.png`, or one image.

A pattern holds one number as `printf` writes it: `%d`, or `%04d` for at least four digits.
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
    """Whether an input path means images: an existing folder, or a name that ends like an image."""
    file = Path(path)
    return file.is_dir() or file.suffix.lower() in IMAGE_SUFFIXES


def means_sequence(path: str | Path) -> bool:
    """Whether an output path means images: as for input, and a name without a suffix is a new folder."""
    return is_sequence(path) or not Path(path).suffix


def split_pattern(path: str | Path) -> tuple[Path, str | None]:
    """(folder, pattern of the file names), None for a folder alone; raises SettingsError for several numbers.

    For output, `pattern or DEFAULT_PATTERN` is what names the images.
    """
    file = Path(path)
    if file.is_dir() or file.suffix.lower() not in IMAGE_SUFFIXES:
        return file, None
    if len(_PLACEHOLDER.findall(file.name)) > 1:
        raise SettingsError(f"{path}: a pattern holds one number; leave one of its placeholders")
    return file.parent, file.name


def image_name(pattern: str, number: int) -> str:
    """The name of an image, counted from 1; raises OutputError when one name is given for several images."""
    if not _PLACEHOLDER.search(pattern):
        if number > 1:
            raise OutputError(
                f"{pattern}: one image holds one frame; give a pattern such as out/%06d.png or a video name"
            )
        return pattern
    # Not by the % operator: any other percent sign stands for itself.
    return _PLACEHOLDER.sub(lambda found: f"{number:0{int(found[1] or 1)}d}", pattern)


def matching_images(folder: Path, pattern: str | None) -> list[Path]:
    """The images of a folder, or those of a pattern, in the order of their numbers (2 before 10)."""
    if not folder.is_dir():
        return []
    ending = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
    matches = re.compile(_regex(pattern) if pattern else rf".*(?i:{ending})", re.DOTALL)
    # Hidden files are thumbnails and leftovers, never frames.
    files = [f for f in folder.iterdir() if f.name[0] != "." and matches.fullmatch(f.name) and f.is_file()]
    return sorted(files, key=_natural)


def output_images(path: str | Path) -> list[Path]:
    """The images, in order, that an output of this name consists of; there may be none."""
    folder, pattern = split_pattern(path)
    return matching_images(folder, pattern or DEFAULT_PATTERN)


def list_images(path: str | Path) -> list[Path]:
    """The files of an input sequence in order; raises InputError when there are none, or of two kinds."""
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
    """A line for the user when the names of a sequence do not count one by one."""
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
    """A pattern as a regular expression for exactly the names that `image_name` gives."""
    stem, suffix = Path(pattern).stem, Path(pattern).suffix
    ending = rf"(?i:{re.escape(suffix)})"
    found = _PLACEHOLDER.search(stem)
    if not found:
        return re.escape(stem) + ending
    width = int(found[1] or 1)
    number = rf"(?:[0-9]{{{width}}}|[1-9][0-9]{{{width},}})"
    return re.escape(stem[: found.start()]) + number + re.escape(stem[found.end() :]) + ending


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key that compares runs of digits as numbers; names that differ only in zeros keep one order."""
    parts = re.split(r"([0-9]+)", file.name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)], file.name


def _numbered(file: Path) -> tuple[str, int]:
    """The name around the last number, and that number."""
    found = re.search(r"([0-9]+)([^0-9]*)$", file.stem)
    return (file.stem[: found.start()] + "#" + found[2], int(found[1])) if found else (file.stem, 0)
