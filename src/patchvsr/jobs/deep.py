"""Decode a finished output and compare every frame with the input frame that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import av
import numpy as np

from patchvsr.errors import InputError, JobError
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.manifest import Manifest
from patchvsr.media import Frame, ReadSettings, VideoInfo, open_reader
from patchvsr.media.encoders import is_coarse
from patchvsr.media.images.names import means_sequence, output_images
from patchvsr.media.images.read_back import image_decoder
from patchvsr.media.segment import EncodedFrame
from patchvsr.pixels.compare import COARSE, ENCODED, MATCHED, UNMATCHED, find_fault, grid_of, thumbnail
from patchvsr.pixels.size import Size


def picture_fault(manifest: Manifest, output: Path, input_path: Path | None) -> str | None:
    """Return the first frame of the output that does not show what its input shows, in words, None if there is none.

    input_path: the input, if it is no longer where the job read it.

    Raises JobError if the input is missing or another one, and InputError if it cannot be read.
    """
    input_path = _input_path(manifest, input_path)
    settings = manifest.identity["settings"]
    read = ReadSettings(**{f.name: settings[f.name] for f in fields(ReadSettings) if f.name in settings})
    profile = settings["output"]
    coarse = "encoder" in profile and is_coarse(profile["encoder"], profile["pix_fmt"], profile["options"])
    limits = (MATCHED if settings["color_match"] else UNMATCHED).plus(COARSE if coarse else ENCODED)
    with open_reader(input_path, read) as reader:
        info = reader.info
    size = Size.parse(settings["output_size"])
    grid = grid_of(size, Size(info.width, info.height))
    scan, count = manifest.scan, 0
    with closing(FrameSource(input_path, read, scan)) as source:
        given = (source.take(number, number + 1)[0] for number in range(len(scan.pts)))
        try:
            for frame, expected, made in _thumbnails(given, output, info, grid):
                fault = find_fault(expected, made, limits, size)
                if fault is not None:
                    time_s = float((frame.pts - scan.pts[0]) * frame.time_base)
                    return f"frame {count} at {time_s:.3f} s {fault}"
                count += 1
        except _Unreadable as error:
            return f"frame {count} cannot be decoded ({error})"
    return None if count == len(scan.pts) else f"{count} of {len(scan.pts)} frames can be decoded"


class _Unreadable(Exception):
    """The output, not the input, cannot be decoded."""


def _input_path(manifest: Manifest, given: Path | None) -> Path:
    """Return the path of the job's input. Raises JobError if it is missing or holds something else."""
    # Imported here, because it imports torch.
    from patchvsr.jobs.identity import input_identity

    path = given or Path(manifest.input)
    if given is None and not manifest.input:
        raise JobError("this job did not record where its input was: name it with --input")
    try:
        found = input_identity(path)
    except OSError as error:
        raise JobError(f"{path}: the input cannot be read; name it with --input if it was moved") from error
    if found != manifest.identity["input"]:
        raise JobError(f"{path}: is not the input of this job, or was changed since; name the right one with --input")
    return path


def _thumbnails(
    given: Iterator[Frame], output: Path, info: VideoInfo, grid: Size
) -> Iterator[tuple[Frame, np.ndarray, np.ndarray]]:
    """Yield input frames, the thumbnails that are expected of them, and those of the output."""
    if not means_sequence(output):
        for frame, made in zip(given, _video_thumbnails(output, grid), strict=False):
            yield frame, thumbnail(frame.rgb, grid), made
        return
    for frame, file in zip(given, output_images(output), strict=False):
        decoder = image_decoder(file.suffix, info)
        try:
            encoded = EncodedFrame(0, True, file.read_bytes())
            (made,) = [*decoder.decode(encoded, grid), *decoder.finish(grid)]
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _Unreadable(str(error)) from error
        yield frame, thumbnail(decoder.expected(frame), grid), made


def _video_thumbnails(output: Path, grid: Size) -> Iterator[np.ndarray]:
    try:
        with open_reader(output, ReadSettings(deinterlace="off")) as reader:
            for frame in reader:
                yield thumbnail(frame.rgb, grid)
    except InputError as error:
        raise _Unreadable(str(error).removeprefix(f"{output}: ")) from error
