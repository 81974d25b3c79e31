"""Resolve the inputs of a command line into pairs of input and output.

An input is a file, a folder, a pattern of images (`in/%06d.png`) or a pattern of names (`clips/*.mp4`). A single input
given by its own path is written to exactly the output path. For inputs found by a pattern or in a folder, the output is
a folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patchvsr import files
from patchvsr.errors import SettingsError
from patchvsr.jobs.search import JOB_SUFFIX, Found, Search, is_image, is_job_folder, real_path
from patchvsr.media.suffixes import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Job:
    """One upscale. `notices`, only with the first job: lines for the user about what is not upscaled."""

    input: Path
    output: Path
    notices: tuple[str, ...] = ()


def find_jobs(inputs: Sequence[str | Path], output: str | Path, *, recursive: bool = False) -> list[Job]:
    """Return the jobs for `inputs`, in the given order; files found for one input are in natural order (2 before 10).

    A folder that holds videos stands for these videos. With `recursive`, it stands for all videos and image sequences
    of its tree, which is mirrored below `output`. Any other folder with PNG or EXR images is one sequence. If a folder
    holds both, its videos are upscaled and a notice lists the images.

    In the output folder, a video becomes NAME.mkv, because Matroska holds every kind of stream. A sequence becomes a
    folder of its name, and a single image becomes NAME.png (EXR: NAME.exr).

    Raises:
        InputError: no input, a path that does not exist, a pattern without matches, or a folder without usable files.
        SettingsError: two inputs have the same output, several would go into one file, or an output would be an input
            or lie in an input folder.
    """
    output = Path(output)
    search = Search(output, recursive)
    found = search.inputs_of([Path(path) for path in inputs])
    by_itself = len(found) == 1 and found[0].input in map(Path, inputs)
    if by_itself and not _takes_files(output, found[0].input, search):
        jobs = [Job(found[0].input, output)]
    else:
        _check_folder(output, found)
        jobs = [Job(item.input, output / item.place) for item in found]
    _check_outputs(jobs, search.folders)
    notices = (*search.notices, *_advice(jobs))
    return [replace(jobs[0], notices=notices), *jobs[1:]]


def _takes_files(output: Path, source: Path, search: Search) -> bool:
    """Return whether `output` is a folder to put a single file into, and not the image sequence of an earlier run."""
    if not output.is_dir() or not source.is_file():
        return False
    contents = search.look(output)
    resumed = is_job_folder(files.beside(output, "{}" + JOB_SUFFIX))
    return not resumed and (bool(contents.videos) or not contents.images)


def _check_folder(output: Path, found: list[Found]) -> None:
    named_like_a_file = output.suffix.lower() in VIDEO_SUFFIXES or is_image(output)
    if not output.is_dir() and (named_like_a_file or output.exists()):
        what = f"{len(found)} inputs" if len(found) > 1 else "inputs found by a pattern or in a folder"
        raise SettingsError(f"{what} cannot go into the one file {output}: give a folder")


def _check_outputs(jobs: list[Job], folders: set[Path]) -> None:
    taken = folders | {real_path(job.input) for job in jobs}
    inputs_by_output: dict[str, Path] = {}
    for job in jobs:
        if real_path(job.output) in taken or real_path(job.output).parent in folders:
            raise SettingsError(
                f"{job.output}, the output of {job.input}, would be among the inputs: choose another folder"
            )
        other = inputs_by_output.setdefault(os.path.normcase(job.output), job.input)
        if other is not job.input:
            raise SettingsError(
                f"{other} and {job.input} would both become {job.output}: upscale them into different folders"
            )


def _advice(jobs: list[Job]) -> Iterator[str]:
    """Warn about several single images, as a shell makes of `in/*.png`: as a video they would flicker."""
    images = [job for job in jobs if job.input.is_file() and is_image(job.input)]
    if len(images) > 1:
        yield (
            f"{len(images)} images are upscaled one by one; if they are the frames of a video, give their folder "
            "or a pattern such as in/%06d.png"
        )
