"""Preview one moment or a few seconds of a job, bicubic and restored side by side.

The preview is restored as in the job: at the job's size, on its patch grid, with the whole frame as the global view.
For a crop, only what it depends on is computed, and its pixels equal those of the whole frame. In a clip of several
chunks with denoising steps, a crop depends on nearly everything, so the whole frame is restored. Only the position of
chunks in time may differ from the job: the job's chunks begin with the shot, the preview's near the requested moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from patchvsr.errors import SettingsError
from patchvsr.jobs.calibrate import calibrate
from patchvsr.jobs.clip import RestoredClip, enlarged, for_shot
from patchvsr.jobs.frames import FrameSource
from patchvsr.jobs.memory import choose_chunk_frames
from patchvsr.jobs.plan import Chunk, cut_chunks
from patchvsr.jobs.scan import Scan, scan_all
from patchvsr.jobs.search import place_of
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import EncodeSettings, Frame, ReadSettings, VideoInfo, open_reader, open_writer
from patchvsr.media.images.names import means_sequence
from patchvsr.media.reader import range_pts
from patchvsr.media.shots import NEIGHBOURS
from patchvsr.media.writer import FileWriter
from patchvsr.patches.grid import Area
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings, RestoreSettings, UpscaleSettings

MOMENT_FRAMES = 5  # frames restored to show one, because detail comes from its neighbours
LINE_PX = 2


@dataclass(frozen=True)
class Preview:
    """What was written, and the estimate for the whole job.

    start_s: time of the first frame shown, in seconds from the first frame of the input.
    size: (width, height) of each of the two sides.
    job_frames, job_s: number of frames of the whole job, and the seconds that restoring them will take.
    """

    output: str
    start_s: float
    frames: int
    size: Size
    job_frames: int
    job_s: float


class _Part(NamedTuple):
    """What to restore, how to read it, and the numbers of the frames to show."""

    read: ReadSettings
    scan: Scan
    chunks: list[Chunk]
    shown: range


def preview(
    input_path: str | Path,
    output_path: str | Path | None,
    settings: UpscaleSettings,
    get_pipeline: Callable[[RestoreSettings], PatchVSRPipeline],
    *,
    at_s: float | None = None,
    seconds: float = 0.0,
    crop: tuple[int, int, int, int] | None = None,
) -> Preview:
    """Write a PNG of the moment `at_s` (default: the middle), or a clip of `seconds` from there. Alpha is not shown.

    output_path: default NAME_preview.png or .mp4 in the current folder.
    crop: (x, y, width, height) in input pixels.

    Raises `PatchVSRError` as `upscale` does, before the model is loaded.
    """
    with open_reader(input_path, settings.read) as reader:
        info = reader.info
    size = settings.restore.output_size(Size(info.width, info.height))
    area = _area(crop or (0, 0, info.width, info.height), info, size)
    output = _output_path(input_path, output_path, seconds)
    at_s = (info.duration_s or 0.0) / 2 if at_s is None else at_s
    read = replace(settings.read, start_s=at_s, end_s=at_s + seconds) if seconds else settings.read
    turns = 0 if seconds else info.rotation // 90  # a PNG stores no rotation
    side = _turned(Size(area[3] - area[2], area[1] - area[0]), turns)
    with _writer(output, info, side, read, overwrite=settings.encode.overwrite) as writer:
        pipeline = get_pipeline(settings.restore)
        restore = pipeline.resolve(settings.restore)
        chunk_frames = choose_chunk_frames(pipeline, size, restore)
        part = (
            _clip(input_path, read, chunk_frames, restore.overlap_frames)
            if seconds
            else _moment(input_path, read, at_s)
        )
        for lq, hq in _restored(pipeline, restore, part, input_path, size, area):
            writer.write(_side_by_side(lq, hq, size, area, turns))
    job_chunks = cut_chunks([range(count_frames(info, settings.read))], chunk_frames, restore.overlap_frames)
    speed = calibrate(pipeline, restore, size, lq, chunk_frames)
    return Preview(
        output=str(output),
        start_s=float((part.scan.pts[part.shown.start] - info.start_pts) * info.time_base),
        frames=len(part.shown),
        size=side,
        job_frames=job_chunks[-1].stop,
        job_s=speed.seconds(pipeline, restore, size, job_chunks),
    )


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """Parse "X,Y,WIDTH,HEIGHT" in pixels. Raises SettingsError for any other text."""
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text)
    if not match:
        raise SettingsError(f"crop {text!r} is not understood: give X,Y,WIDTH,HEIGHT, for example 0,0,320,180")
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def count_frames(info: VideoInfo, read: ReadSettings) -> int:
    """Return the number of frames of the whole input: as declared, else the packets, counted without decoding."""
    if info.declared_frames is not None:
        return info.declared_frames
    with av.open(str(info.path.absolute())) as container:
        packets = sum(packet.size > 0 for packet in container.demux(container.streams[info.video_index]))
    return max(1, packets) * (2 if read.deinterlace == "field" else 1)


def _area(crop: tuple[int, int, int, int], info: VideoInfo, size: Size) -> Area:
    """Return the output pixels (y0, y1, x0, x1) of a crop (x, y, width, height) of the input."""
    x, y, width, height = crop
    if not (width and height and x + width <= info.width and y + height <= info.height):
        raise SettingsError(
            f"crop {x},{y},{width},{height} does not lie in the {info.width}x{info.height} pixels of {info.path}"
        )
    x_scale, y_scale = Fraction(size.width, info.width), Fraction(size.height, info.height)
    return floor(y * y_scale), ceil((y + height) * y_scale), floor(x * x_scale), ceil((x + width) * x_scale)


def _output_path(input_path: str | Path, output_path: str | Path | None, seconds: float) -> Path:
    if seconds < 0:
        raise SettingsError(f"seconds is {seconds:g}: give 0 for one moment, or more for a clip")
    if output_path is None:
        source = Path(input_path)
        name = source.resolve().name if source.is_dir() else place_of(source).stem
        return Path(f"{name}_preview.{'mp4' if seconds else 'png'}")
    output = Path(output_path)
    if not seconds and output.suffix.lower() != ".png":
        raise SettingsError(f"{output}: a single moment is written as PNG; name it .png, or make a clip with --seconds")
    if seconds and means_sequence(output):
        raise SettingsError(f"{output}: a clip is written as video; name it .mp4 or .mkv")
    return output


def _writer(
    output: Path,
    info: VideoInfo,
    side: Size,
    read: ReadSettings,
    *,
    overwrite: bool,
) -> FileWriter:
    others = tuple(stream.index for stream in info.streams if stream.index != info.video_index)
    return open_writer(
        output,
        source=replace(info, has_alpha=False),
        size=Size(2 * side.width + LINE_PX, side.height),
        settings=EncodeSettings("h264", skip_streams=others, overwrite=overwrite),
        read=read,
    )


def _moment(input_path: str | Path, read: ReadSettings, at_s: float) -> _Part:
    """Return the first frame at or after `at_s` (else the last one) with neighbours of the same shot."""
    around = MOMENT_FRAMES - 1 + NEIGHBOURS  # on each side; cut detection compares neighbours
    with open_reader(input_path, read) as reader:
        rate, info = reader.info.average_rate, reader.info
    lead_s = float((around + 1) / rate) if rate else 1.0
    at_pts = range_pts(info, replace(read, start_s=at_s, end_s=None))[0] or 0
    read = replace(read, start_s=max(0.0, at_s - lead_s), end_s=None)
    with open_reader(input_path, read) as reader:
        scanned = scan_all(_until_after(reader, at_pts, around))
    number = next((n for n, pts in enumerate(scanned.pts) if pts >= at_pts), len(scanned.pts) - 1)
    shot = next(shot for shot in scanned.shots() if number in shot)
    start = max(shot.start, min(number - MOMENT_FRAMES // 2, shot.stop - MOMENT_FRAMES))
    chunk = Chunk(start, min(start + MOMENT_FRAMES, shot.stop), shared=0, place=0)
    return _Part(read, scanned, [chunk], range(number, number + 1))


def _until_after(frames: Iterable[Frame], pts: int, count: int) -> Iterator[Frame]:
    """Yield frames, up to `count` after the first one at or after `pts`."""
    for frame in frames:
        yield frame
        count -= frame.pts >= pts
        if count < 0:
            return


def _clip(input_path: str | Path, read: ReadSettings, chunk_frames: int, overlap_frames: int) -> _Part:
    with open_reader(input_path, read) as reader:
        scanned = scan_all(reader)
    chunks = cut_chunks(scanned.shots(), chunk_frames, overlap_frames)
    return _Part(read, scanned, chunks, range(len(scanned.pts)))


def _restored(
    pipeline: PatchVSRPipeline,
    restore: ResolvedSettings,
    part: _Part,
    input_path: str | Path,
    size: Size,
    area: Area,
) -> Iterator[tuple[Frame, Frame]]:
    """Yield pairs of an input frame and its restored area."""
    only = area if len(part.chunks) == 1 or not restore.num_inference_steps else None
    pieces, following = Pieces(restore.batch_size, restore.tile_px), part.shown.start

    def attempt() -> Generator[tuple[Frame, Frame]]:
        nonlocal following  # what an earlier attempt yielded is not yielded again
        state, given = None, pieces.applied_to(restore)
        settings = given
        with closing(FrameSource(input_path, part.read, part.scan)) as source:
            for chunk in part.chunks:
                if not chunk.shared:
                    settings = for_shot(given, pipeline, size, source, part.scan.shot_of(chunk.start))
                frames = [replace(frame, alpha=None) for frame in source.take(chunk.start, chunk.stop)]
                clip = RestoredClip(
                    pipeline, settings, size, frames, place=chunk.place,
                    previous=state if chunk.shared else None, area=only,
                )  # fmt: skip
                numbers = range(chunk.start + chunk.shared, chunk.stop)
                for number, lq, hq in zip(numbers, frames[chunk.shared :], clip, strict=True):
                    if number in range(following, part.shown.stop):
                        following = number + 1
                        yield lq, hq if only else replace(hq, rgb=_cut(hq.rgb, area))
                state = clip.state if chunk is not part.chunks[-1] else None

    yield from pieces.retried(attempt)


def _turned(size: Size, turns: int) -> Size:
    return Size(size.height, size.width) if turns % 2 else size


def _side_by_side(lq: Frame, hq: Frame, size: Size, area: Area, turns: int) -> Frame:
    """Join bicubic, a white line and restored, both sides rotated counterclockwise by `turns` quarter turns."""
    bicubic, restored = (np.rot90(side, turns) for side in (_cut(enlarged(lq, size).rgb, area), hq.rgb))
    line = np.full((bicubic.shape[0], LINE_PX, 3), np.iinfo(lq.rgb.dtype).max, lq.rgb.dtype)
    return replace(lq, rgb=np.concatenate([bicubic, line, restored], axis=1))


def _cut(rgb: np.ndarray, area: Area) -> np.ndarray:
    y0, y1, x0, x1 = area
    return rgb[y0:y1, x0:x1]
