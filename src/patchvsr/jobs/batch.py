"""From the words of a command line to pairs of input and output.

A word is a file, a folder, a pattern of images (`in/%06d.png`) or a pattern of names (`clips/*.mp4`). What is named by
itself goes to the output as it is given; what is found by a pattern or in a folder goes into the output as a folder.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patchvsr.errors import InputError, SettingsError

# By these names files are recognised in folders; a file named by itself is always taken.
VIDEO_SUFFIXES = {
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".ivf", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip
IMAGE_SUFFIXES = {".bmp", ".dpx", ".exr", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

JOB_SUFFIX = ".job"

_PLACEHOLDER = re.compile(r"%0?\d*d")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Job:
    """One upscale. `notices`: complete lines for the user about what was found beside the input and is left alone."""

    input: Path
    output: Path
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """An input and its place below the output folder."""

    input: Path
    place: Path
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Contents:
    """What a folder holds, hidden things, job folders and the output aside, in natural order."""

    videos: list[Path]
    images: list[Path]
    folders: list[Path]


def find_jobs(inputs: Sequence[str | Path], output: str | Path, *, recursive: bool = False) -> list[Job]:
    """What to upscale and where to: inputs in the given order, what is found for one in natural order (2 before 10).

    A folder of videos stands for the videos in it, with `recursive` for all videos and image sequences of its whole
    tree, mirrored below `output`; any other folder with images is one sequence. Where a folder holds both, the
    videos are taken and a notice names the images. In the output folder a video becomes NAME.mkv, because Matroska
    holds every kind of stream, a sequence a folder of its name, and a single image NAME.png.

    Raises:
        InputError: no input, nothing at a path, nothing that fits a pattern, nothing usable in a folder.
        SettingsError: two inputs would become one output, several would go into one file, or an output would be an
            input or lie in a folder of inputs.
    """
    output = Path(output)
    search = _Search(output, recursive)
    found = search.inputs_of([Path(word) for word in inputs])
    by_itself = len(found) == 1 and found[0].input in map(Path, inputs)
    if by_itself and not _takes_files(output, found[0].input, search):
        jobs = [Job(found[0].input, output, found[0].notices)]
    else:
        _check_folder(output, found)
        jobs = [Job(item.input, output / item.place, item.notices) for item in found]
    _check_outputs(jobs, search.folders)
    return _with_advice(jobs)


class _Search:
    """Looks for inputs; hidden things, job folders and the output are passed over. Collects the folders it saw."""

    def __init__(self, output: Path, recursive: bool) -> None:
        self.folders: set[Path] = set()
        self._output, self._recursive = _real(output), recursive

    def inputs_of(self, words: list[Path]) -> list[_Found]:
        """What all words stand for, each input once."""
        named = {_identity(path): path for word in words for path in self._expand(word)}
        if not named:
            raise InputError("no input: give a video, a folder, or a pattern such as 'clips/*.mp4'")
        found: dict[Path, _Found] = {}
        for path in named.values():
            start = Path(_real(path).name if len(named) > 1 else "")
            items = self._in_folder(path, start) if path.is_dir() else [_Found(path, _place(path))]
            for item in items:
                found.setdefault(_identity(item.input), item)
        return list(found.values())

    def look(self, folder: Path) -> _Contents:
        """Raises InputError for a folder that may not be read."""
        try:
            entries = sorted((e for e in folder.iterdir() if not self._is_passed_over(e, folder)), key=_natural)
        except OSError as err:
            raise InputError(f"{folder}: cannot be read ({(err.strerror or str(err)).lower()})") from err
        files = [entry for entry in entries if not entry.is_dir()]
        return _Contents(
            videos=[file for file in files if file.suffix.lower() in VIDEO_SUFFIXES],
            images=[file for file in files if file.suffix.lower() in IMAGE_SUFFIXES],
            folders=[entry for entry in entries if entry.is_dir()],
        )

    def _expand(self, word: Path) -> list[Path]:
        """The paths a word stands for. What exists under that very name is not taken for a pattern."""
        if os.path.exists(word) or _is_image_pattern(word):  # noqa: PTH110 - Path.exists raises for impossible names
            return [word]
        base = next(parent for parent in word.parents if parent.exists())
        pattern = word.relative_to(base)
        if not _GLOB.search(str(pattern)):
            raise InputError(f"{word}: no such file or folder; check the path")
        try:
            # Path.glob does not follow links for `**`; glob.glob does, and does not come back from some loops.
            matches = [path for path in base.glob(str(pattern)) if not self._is_passed_over(path, base)]
        except ValueError as err:
            raise InputError(f"{word}: not a pattern; write ** only between slashes") from err
        if "**" in pattern.parts:
            matches = [path for path in matches if not path.is_dir()]
        if not matches:
            raise InputError(f"{word}: nothing fits this pattern; check it, or give a folder")
        return sorted(matches, key=_natural)

    def _in_folder(self, folder: Path, start: Path) -> list[_Found]:
        """The inputs in a folder, or the folder itself as a sequence; their places begin with `start`."""
        found: list[_Found] = []
        for current in self._tree(folder) if self._recursive else [folder]:
            self.folders.add(_real(current))
            contents, place = self.look(current), start / current.relative_to(folder)
            items = [_Found(path, place / _place(path)) for path in contents.videos]
            if contents.images and not items:
                items = [_Found(current, place)]
            if items:
                items[0] = replace(items[0], notices=tuple(self._notices(current, contents)))
            found += items
        if not found:
            deeper = "" if self._recursive else ", or look into its subfolders with --recursive"
            raise InputError(
                f"{folder}: holds no video ({' '.join(sorted(VIDEO_SUFFIXES))}) and no image "
                f"({' '.join(sorted(IMAGE_SUFFIXES))}); give another folder{deeper}"
            )
        return found

    def _tree(self, root: Path) -> list[Path]:
        """The folder and all folders below, in natural order, each once however many links lead to it."""
        found: dict[Path, Path] = {}
        folders, links = deque([root]), deque[Path]()
        while folders or links:  # links last: a folder is listed under its own name where this tree has one
            folder = (folders or links).popleft()
            if _real(folder) not in found:
                found[_real(folder)] = folder
                for inner in self.look(folder).folders:
                    (links if inner.is_symlink() else folders).append(inner)
        return sorted(found.values(), key=_natural)

    def _notices(self, folder: Path, contents: _Contents) -> Iterator[str]:
        images, folders = contents.images, contents.folders
        if contents.videos and images:
            names = ", ".join(image.name for image in images[:3]) + (", ..." if len(images) > 3 else "")
            yield f"not upscaled: {len(images)} image{_s(images)} beside the videos of {folder} ({names})"
        if folders and not self._recursive:
            yield f"not looked into: {len(folders)} subfolder{_s(folders)} of {folder}; --recursive does"

    def _is_passed_over(self, path: Path, base: Path) -> bool:
        """Whether `path` or a folder between it and `base` is hidden, a job folder, or the output."""
        inside = path.relative_to(base)
        if any(part.startswith(".") and part != ".." for part in inside.parts):
            return True
        steps = (base / step for step in (inside, *inside.parents) if step.parts)
        return any(step.is_dir() and (_real(step) == self._output or _is_job_folder(step)) for step in steps)


def _takes_files(output: Path, source: Path, search: _Search) -> bool:
    """Whether `output` is a folder to put one file into, rather than the images that an earlier run of it made."""
    if not output.is_dir() or not source.is_file():
        return False
    contents = search.look(output)
    resumed = _is_job_folder(output.with_name(output.name + JOB_SUFFIX))
    return not resumed and (bool(contents.videos) or not contents.images)


def _check_folder(output: Path, found: list[_Found]) -> None:
    named_like_a_file = output.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    if not output.is_dir() and (named_like_a_file or output.exists()):
        what = f"{len(found)} inputs" if len(found) > 1 else "what is found by a pattern or in a folder"
        raise SettingsError(f"{what} cannot go into the one file {output}: give a folder")


def _check_outputs(jobs: list[Job], folders: set[Path]) -> None:
    taken = folders | {_real(job.input) for job in jobs}
    inputs_by_output: dict[str, Path] = {}
    for job in jobs:
        if _real(job.output) in taken or _real(job.output).parent in folders:
            raise SettingsError(f"{job.output}, made of {job.input}, would be among the inputs: choose another folder")
        other = inputs_by_output.setdefault(os.path.normcase(job.output), job.input)
        if other is not job.input:
            raise SettingsError(
                f"{other} and {job.input} would both become {job.output}: upscale them into different folders"
            )


def _with_advice(jobs: list[Job]) -> list[Job]:
    """A shell makes single images of `in/*.png`: they share nothing, so as a video they would flicker."""
    images = [job for job in jobs if job.input.is_file() and job.input.suffix.lower() in IMAGE_SUFFIXES]
    if len(images) < 2:
        return jobs
    notice = (
        f"{len(images)} images are upscaled one by one; if they are the frames of a video, give their folder "
        "or a pattern such as in/%06d.png"
    )
    return [replace(jobs[0], notices=(notice, *jobs[0].notices)), *jobs[1:]]


def _place(path: Path) -> Path:
    """The output's name in a folder of outputs."""
    if _is_image_pattern(path) and not path.exists():
        # shot1_%04d.png becomes a folder shot1; in/%06d.png has no name but that of its folder.
        return Path(_PLACEHOLDER.split(path.name)[0].rstrip(" ._-") or _real(path.parent).name)
    return Path(path.stem + (".png" if path.suffix.lower() in IMAGE_SUFFIXES else ".mkv"))


def _is_image_pattern(path: Path) -> bool:
    return bool(_PLACEHOLDER.search(path.name)) and path.suffix.lower() in IMAGE_SUFFIXES


def _is_job_folder(folder: Path) -> bool:
    return folder.suffix == JOB_SUFFIX and (folder / "manifest.json").is_file()


def _identity(path: Path) -> Path:
    """The same for every way to write a path; a link is not what it leads to, for it has a name of its own."""
    return _real(path.parent) / path.name if path.name not in ("", "..") else _real(path)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for links that lead to themselves


def _natural(path: Path) -> tuple[list[list[tuple[int, str]]], Path]:
    """Sort key that compares runs of digits as numbers; in the end "1" and "01" differ as well."""
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    return [[(int(run), "") if run.isdecimal() else (-1, run.casefold()) for run in runs] for runs in parts], path


def _s(items: list[Path]) -> str:
    return "" if len(items) == 1 else "s"
