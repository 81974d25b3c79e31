"""From the words of a command line to pairs of input and output.

A word is a file, a folder, a pattern of images (`in/%06d.png`) or a pattern of names (`clips/*.mp4`). What is named by
itself goes to the output as it is given; what is found by a pattern or in a folder goes into the output as a folder.
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
    """One upscale. `notices`, all with the first job: complete lines about what was found and is left alone."""

    input: Path
    output: Path
    notices: tuple[str, ...] = ()


def find_jobs(inputs: Sequence[str | Path], output: str | Path, *, recursive: bool = False) -> list[Job]:
    """What to upscale and where to: inputs in the given order, what is found for one in natural order (2 before 10).

    A folder of videos stands for the videos in it, with `recursive` for all videos and image sequences of its whole
    tree, mirrored below `output`; any other folder with PNG or EXR images is one sequence. Where a folder holds both,
    the videos are taken and a notice names the images. In the output folder a video becomes NAME.mkv, because Matroska
    holds every kind of stream, a sequence a folder of its name, and a single image NAME.png (EXR: NAME.exr).

    Raises:
        InputError: no input, nothing at a path, nothing that fits a pattern, nothing usable in a folder.
        SettingsError: two inputs would become one output, several would go into one file, or an output would be an
            input or lie in a folder of inputs.
    """
    output = Path(output)
    search = Search(output, recursive)
    found = search.inputs_of([Path(word) for word in inputs])
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
    """Whether `output` is a folder to put one file into, rather than the images that an earlier run of it made."""
    if not output.is_dir() or not source.is_file():
        return False
    contents = search.look(output)
    resumed = is_job_folder(files.beside(output, "{}" + JOB_SUFFIX))
    return not resumed and (bool(contents.videos) or not contents.images)


def _check_folder(output: Path, found: list[Found]) -> None:
    named_like_a_file = output.suffix.lower() in VIDEO_SUFFIXES or is_image(output)
    if not output.is_dir() and (named_like_a_file or output.exists()):
        what = f"{len(found)} inputs" if len(found) > 1 else "what is found by a pattern or in a folder"
        raise SettingsError(f"{what} cannot go into the one file {output}: give a folder")


def _check_outputs(jobs: list[Job], folders: set[Path]) -> None:
    taken = folders | {real_path(job.input) for job in jobs}
    inputs_by_output: dict[str, Path] = {}
    for job in jobs:
        if real_path(job.output) in taken or real_path(job.output).parent in folders:
            raise SettingsError(f"{job.output}, made of {job.input}, would be among the inputs: choose another folder")
        other = inputs_by_output.setdefault(os.path.normcase(job.output), job.input)
        if other is not job.input:
            raise SettingsError(
                f"{other} and {job.input} would both become {job.output}: upscale them into different folders"
            )


def _advice(jobs: list[Job]) -> Iterator[str]:
    """A shell makes single images of `in/*.png`: they know nothing of each other, so as a video they would flicker."""
    images = [job for job in jobs if job.input.is_file() and is_image(job.input)]
    if len(images) > 1:
        yield (
            f"{len(images)} images are upscaled one by one; if they are the frames of a video, give their folder "
            "or a pattern such as in/%06d.png"
        )
