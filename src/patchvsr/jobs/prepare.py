"""What comes in and what goes out, checked before anything is read through, loaded or written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from patchvsr.config import UpscaleConfig
from patchvsr.media import Output, VideoInfo, open_output, open_reader
from patchvsr.media.frames import FrameReader
from patchvsr.media.images.names import is_sequence, list_images
from patchvsr.media.images.reader import sequence_notices


class Prepared(NamedTuple):
    """size: (width, height) of the output in pixels. notices: lines for the user about what is not kept."""

    info: VideoInfo
    size: tuple[int, int]
    output: Output
    notices: tuple[str, ...]


def prepare(input_path: str | Path, output_path: str | Path, config: UpscaleConfig) -> Prepared:
    """Raises `PatchVSRError` for an input, an output or settings that cannot be; writes nothing."""
    with open_input(input_path, config) as reader:
        info = reader.info
    size = config.output_size(info.width, info.height)
    output = open_output(
        output_path,
        source=info,
        width=size[0],
        height=size[1],
        settings=config.encode_settings(),
        start_s=config.start_s,
        end_s=config.end_s,
        skip_streams=config.skip_streams,
    )
    told = sequence_notices(list_images(input_path)) if is_sequence(input_path) else ()
    return Prepared(info, size, output, (*told, *output.notices))


def open_input(
    path: str | Path, config: UpscaleConfig, resume_pts: int | None = None, seek: bool = True
) -> FrameReader:
    """The input as `config` wants it read, from the frame at `resume_pts` on."""
    return open_reader(path, **config.reading(), resume_pts=resume_pts, seek=seek)


def expected_frames(info: VideoInfo, config: UpscaleConfig) -> int | None:
    """For the progress bar of the first look alone."""
    if config.start_s is None and config.end_s is None:
        return info.declared_frames
    if info.average_rate is None or (config.end_s is None and info.duration_s is None):
        return None
    end = min(x for x in (config.end_s, info.duration_s) if x is not None)
    return max(0, round((end - (config.start_s or 0)) * float(info.average_rate))) or None
