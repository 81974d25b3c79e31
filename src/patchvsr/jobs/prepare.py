"""Check input, output and settings before anything is scanned, loaded or written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from patchvsr.media import Output, ReadSettings, VideoInfo, open_output, open_reader
from patchvsr.media.images.names import is_sequence, list_images
from patchvsr.media.images.reader import sequence_notices
from patchvsr.pixels.size import Size
from patchvsr.settings import UpscaleSettings


class Prepared(NamedTuple):
    """Checked input and output. size: of the output. notices: lines for the user about what is not kept."""

    info: VideoInfo
    size: Size
    output: Output
    notices: tuple[str, ...]


def prepare(input_path: str | Path, output_path: str | Path, settings: UpscaleSettings) -> Prepared:
    """Check a job without writing anything. Raises `PatchVSRError` for an unusable input, output or setting."""
    with open_reader(input_path, settings.read) as reader:
        info = reader.info
    size = settings.restore.output_size(Size(info.width, info.height))
    output = open_output(output_path, source=info, size=size, settings=settings.encode, read=settings.read)
    notices = sequence_notices(list_images(input_path)) if is_sequence(input_path) else ()
    return Prepared(info, size, output, (*notices, *output.notices))


def expected_frames(info: VideoInfo, read: ReadSettings) -> int | None:
    """Return the number of frames to expect, for the progress bar of the scan only; None if unknown."""
    if read.start_s is None and read.end_s is None:
        return info.declared_frames
    if info.average_rate is None or (read.end_s is None and info.duration_s is None):
        return None
    end = min(x for x in (read.end_s, info.duration_s) if x is not None)
    return max(0, round((end - (read.start_s or 0)) * float(info.average_rate))) or None
