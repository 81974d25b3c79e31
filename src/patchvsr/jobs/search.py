"""Search for inputs: expand patterns, walk folders, report what is skipped."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patchvsr.errors import InputError
from patchvsr.media.images.names import IMAGE_SUFFIXES
from patchvsr.media.suffixes import VIDEO_SUFFIXES

_OTHER_IMAGE_SUFFIXES = {".bmp", ".dpx", ".jpeg", ".jpg", ".tif", ".tiff", ".webp"}  # never frames of a sequence

JOB_SUFFIX, MANIFEST = ".job", "manifest.json"

_PLACEHOLDER = re.compile(r"%0?\d*d")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """An input, and the path of its output below the output folder."""

    input: Path
    place: Path


@dataclass(frozen=True)
class Contents:
    """Contents of a folder in natural order, without hidden entries, job folders and the output."""

    videos: list[Path]
    images: list[Path]
    other_images: list[Path]
    folders: list[Path]


class Search:
    """Find inputs, skipping hidden entries, job folders and the output.

    folders: real paths of the folders searched. notices: lines for the user about what is skipped in them.
    """

    def __init__(self, output: Path, recursive: bool) -> None:
        self.folders: set[Path] = set()
        self.notices: list[str] = []
        self._output, self._recursive = real_path(output), recursive

    def inputs_of(self, paths: list[Path]) -> list[Found]:
        """Return the inputs that `paths` stand for, each once."""
        named = {_identity(match): match for path in paths for match in self._expand(path)}
        if not named:
            raise InputError("no input: give a video, a folder, or a pattern such as 'clips/*.mp4'")
        found: dict[Path, Found] = {}
        for path in named.values():
            start = Path(real_path(path).name if len(named) > 1 else "")
            items = self._in_folder(path, start) if path.is_dir() else [Found(path, place_of(path))]
            for item in items:
                found.setdefault(_identity(item.input), item)
        return list(found.values())

    def look(self, folder: Path) -> Contents:
        """Return the contents of a folder. Raises InputError if it cannot be read."""
        try:
            entries = sorted((e for e in folder.iterdir() if not self._is_passed_over(e, folder)), key=_natural)
        except OSError as err:
            raise InputError(f"{folder}: cannot be read ({(err.strerror or str(err)).lower()})") from err
        files = [entry for entry in entries if not entry.is_dir()]
        return Contents(
            videos=[file for file in files if file.suffix.lower() in VIDEO_SUFFIXES],
            images=[file for file in files if file.suffix.lower() in IMAGE_SUFFIXES],
            other_images=[file for file in files if file.suffix.lower() in _OTHER_IMAGE_SUFFIXES],
            folders=[entry for entry in entries if entry.is_dir()],
        )

    def _expand(self, path: Path) -> list[Path]:
        """Return the paths that `path` stands for. An existing path is never taken for a pattern."""
        if os.path.exists(path) or _is_image_pattern(path):  # noqa: PTH110 - Path.exists raises for impossible names
            return [path]
        base = next(parent for parent in path.parents if parent.exists())
        pattern = path.relative_to(base)
        if not _GLOB.search(str(pattern)):
            raise InputError(f"{path}: no such file or folder; check the path")
        try:
            # Path.glob does not follow links for `**`; glob.glob does, and never returns from some loops.
            matches = [match for match in base.glob(str(pattern)) if not self._is_passed_over(match, base)]
        except ValueError as err:
            raise InputError(f"{path}: not a valid pattern; write ** only between slashes") from err
        if "**" in pattern.parts:
            matches = [match for match in matches if not match.is_dir()]
        if not matches:
            raise InputError(f"{path}: nothing matches this pattern; check it, or give a folder")
        return sorted(matches, key=_natural)

    def _in_folder(self, folder: Path, start: Path) -> list[Found]:
        """Return the inputs in a folder, or the folder itself as a sequence. Output paths begin with `start`."""
        found: list[Found] = []
        for current in self._tree(folder) if self._recursive else [folder]:
            self.folders.add(real_path(current))
            contents, place = self.look(current), start / current.relative_to(folder)
            if contents.videos:
                found += [Found(path, place / place_of(path)) for path in contents.videos]
            elif contents.images:
                found.append(Found(current, place))
            self.notices += self._notices(current, contents)
        if not found:
            deeper = "" if self._recursive else ", or look into its subfolders with --recursive"
            raise InputError(
                f"{folder}: holds no video ({' '.join(sorted(VIDEO_SUFFIXES))}) and no image sequence "
                f"({' '.join(sorted(IMAGE_SUFFIXES))}); give another folder{deeper}"
            )
        return found

    def _tree(self, root: Path) -> list[Path]:
        """Return the folder and all folders below it in natural order, each once even if several links lead to it."""
        found: dict[Path, Path] = {}
        folders, links = deque([root]), deque[Path]()
        while folders or links:  # links last: a folder of this tree is listed under its own name
            folder = (folders or links).popleft()
            if real_path(folder) not in found:
                found[real_path(folder)] = folder
                for inner in self.look(folder).folders:
                    (links if inner.is_symlink() else folders).append(inner)
        return sorted(found.values(), key=_natural)

    def _notices(self, folder: Path, contents: Contents) -> Iterator[str]:
        images = (contents.images if contents.videos else []) + contents.other_images
        folders = contents.folders
        if images:
            names = ", ".join(image.name for image in images[:3]) + (", ..." if len(images) > 3 else "")
            yield f"not upscaled: {len(images)} image{_s(images)} of {folder} ({names})"
        if folders and not self._recursive:
            yield f"not searched: {len(folders)} subfolder{_s(folders)} of {folder}; use --recursive"

    def _is_passed_over(self, path: Path, base: Path) -> bool:
        """Return whether `path` or a folder between it and `base` is hidden, a job folder, or the output."""
        inside = path.relative_to(base)
        if any(part.startswith(".") and part != ".." for part in inside.parts):
            return True
        steps = (base / step for step in (inside, *inside.parents) if step.parts)
        return any(step.is_dir() and (real_path(step) == self._output or is_job_folder(step)) for step in steps)


def place_of(path: Path) -> Path:
    """Return the path of an input's output below the output folder."""
    if _is_image_pattern(path) and not path.exists():
        # shot1_%04d.png becomes a folder shot1; in/%06d.png takes the name of its folder.
        return Path(_PLACEHOLDER.split(path.name)[0].rstrip(" ._-") or real_path(path.parent).name)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Path(path.name)
    return Path(path.stem + (".png" if is_image(path) else ".mkv"))


def is_image(path: Path) -> bool:
    return path.suffix.lower() in {*IMAGE_SUFFIXES, *_OTHER_IMAGE_SUFFIXES}


def _is_image_pattern(path: Path) -> bool:
    return bool(_PLACEHOLDER.search(path.name)) and path.suffix.lower() in IMAGE_SUFFIXES


def is_job_folder(folder: Path) -> bool:
    return folder.suffix == JOB_SUFFIX and (folder / MANIFEST).is_file()


def _identity(path: Path) -> Path:
    """Return one path for all spellings of it. A link is kept apart from its target: it has its own name."""
    return real_path(path.parent) / path.name if path.name not in ("", "..") else real_path(path)


def real_path(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for links to themselves


def _natural(path: Path) -> tuple[list[list[tuple[int, str]]], Path]:
    """Return a sort key that compares runs of digits as numbers; the path itself orders "1" and "01"."""
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    return [[(int(run), "") if run.isdecimal() else (-1, run.casefold()) for run in runs] for runs in parts], path


def _s(items: list[Path]) -> str:
    return "" if len(items) == 1 else "s"
