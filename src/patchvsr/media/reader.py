"""Read the frames of a video one by one, with exact times and without silent gaps."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path
from typing import TypeVar

import av

from patchvsr.errors import InputError, SettingsError
from patchvsr.media.color import ColorConverter
from patchvsr.media.decoder import Decoder, seconds
from patchvsr.media.deinterlace import Deinterlacer, deinterlaced_info, refuse_interlaced
from patchvsr.media.frames import Frame, FrameReader
from patchvsr.media.images import reader as images
from patchvsr.media.images.names import is_sequence
from patchvsr.media.info import VideoInfo
from patchvsr.media.probe import probe
from patchvsr.media.settings import ReadSettings
from patchvsr.media.timing import last_duration


def open_reader(
    path: str | Path,
    settings: ReadSettings | None = None,
    *,
    resume_pts: int | None = None,
    seek: bool = True,
) -> VideoReader | images.ImageReader:
    """Open a video file, a folder of images or a pattern such as `in/%06d.png`.

    The result is a context manager and an iterator of `Frame`, with `.info`. Frames are decoded on demand. With a range
    in `settings`, their `pts` stay those of the source. `.info` describes the video after deinterlacing.

    resume_pts: start with the frame of exactly this PTS, in ticks of `.info.time_base`; the range still applies.
    seek: whether the decoder may start near the first frame wanted. It starts two key frames early, and falls back to
        reading from the beginning where the container cannot seek or the frame is not found.

    Raises InputError as `probe` does, and for interlaced video. While iterating, raises it for damaged, truncated or
    later interlaced video, and if no frame is in the range or at resume_pts.
    Raises SettingsError for a setting that does not fit the kind of input.
    """
    settings = settings or ReadSettings()
    if is_sequence(path):
        if settings.deinterlace not in (None, "off"):
            raise SettingsError(f"{path}: images have no fields to deinterlace; leave deinterlace out")
        return images.ImageReader(path, settings, resume_pts=resume_pts)
    return VideoReader(path, settings, resume_pts=resume_pts, seek=seek)


def range_pts(info: VideoInfo, settings: ReadSettings) -> tuple[int | None, int | None]:
    """Return the range in ticks of the video as (first, last): frames with first <= pts < last belong to it."""

    def ticks(seconds: float | None) -> int | None:
        # Through str, so that 0.1 means a tenth and not the nearest binary fraction.
        return None if seconds is None else info.start_pts + ceil(Fraction(str(seconds)) / info.time_base)

    return ticks(settings.start_s), ticks(settings.end_s)


class VideoReader(FrameReader):
    """Read the frames of a media file; see `open_reader`. Holds two decoded frames, four when deinterlacing."""

    def __init__(
        self,
        path: str | Path,
        settings: ReadSettings,
        *,
        resume_pts: int | None = None,
        seek: bool = True,
    ) -> None:
        self._source = probe(path, rate=settings.frame_rate)
        if self._source.interlaced and settings.deinterlace is None:
            raise refuse_interlaced(self._source, "")
        self.info = deinterlaced_info(self._source, settings.deinterlace)
        self._settings = settings
        self._start_pts, self._end_pts = range_pts(self.info, settings)
        self._resume_pts, self._seek = resume_pts, seek
        self._converter = ColorConverter(self.info.color, chroma_unsited=self.info.chroma_unsited)
        self._decoder = Decoder(self._source)
        self._frames = self._read()

    def close(self) -> None:
        """Release the file; iterating afterwards yields nothing."""
        super().close()
        self._decoder.close()

    def _read(self) -> Generator[Frame]:
        count = 0
        for (frame, pts), following in _with_next(self._wanted()):
            if self._end_pts is not None and pts >= self._end_pts:
                break
            if frame.is_corrupt:
                raise InputError(
                    f"{self.info.path}: the frame at {seconds(self.info, pts)} is damaged; get a good copy"
                )
            # Stored durations are often nominal values; the time of the next frame is exact.
            duration = (following[1] - pts) if following else self._last_duration(frame, pts)
            alpha = self._converter.to_alpha(frame) if self.info.has_alpha else None
            yield Frame(self._converter.to_rgb(frame), pts, duration, self.info.time_base, alpha)
            count += 1
        if not count:
            raise self._nothing()

    def _wanted(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Return (frame, pts) from the start of the range or the resume point to the end of the file."""
        first = max((p for p in (self._start_pts, self._resume_pts) if p is not None), default=None)
        if first is None:
            return self._whole_frames()
        if self._seek and self._decoder.seek_before(first // self._ticks()):
            frames = self._from_seek(first)
            if frames is not None:
                return frames
        self._decoder.close()
        self._decoder = Decoder(self._source)
        frames = (item for item in self._whole_frames() if item[1] >= first)
        head = next(frames, None)
        if not self._is_first(head):
            raise InputError(f"{self.info.path}: no frame at tick {self._resume_pts} to resume from; has it changed?")
        return chain([head], frames) if head else frames

    def _from_seek(self, first: int) -> Iterator[tuple[av.VideoFrame, int]] | None:
        """Return frames from `first` on after a seek, or None if they may differ from a read from the beginning."""
        frames, before = self._whole_frames(), 0
        try:
            for item in frames:
                if item[1] >= first:
                    return chain([item], frames) if before and self._is_first(item) else None
                before += 1
        except InputError:  # frames just after a seek may lack their references
            pass
        return None

    def _is_first(self, item: tuple[av.VideoFrame, int] | None) -> bool:
        return self._resume_pts is None or (item is not None and item[1] == self._resume_pts)

    def _whole_frames(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Return progressive (frame, pts) from the decoder's position, pts in ticks of `info`, or an error."""
        mode = self._settings.deinterlace
        if mode in ("frame", "field"):
            return Deinterlacer(self._decoder, mode).run()
        return self._decoder.frames() if mode == "off" else self._progressive(self._decoder.frames())

    def _progressive(self, frames: Iterable[tuple[av.VideoFrame, int]]) -> Iterator[tuple[av.VideoFrame, int]]:
        for frame, pts in frames:
            if frame.interlaced_frame:
                where = "" if self._decoder.sought else f" from frame {self._decoder.clock.count - 1} on"
                raise refuse_interlaced(self.info, f"{where} ({seconds(self.info, pts)})")
            yield frame, pts

    def _last_duration(self, frame: av.VideoFrame, pts: int) -> int | None:
        if self._settings.deinterlace in ("frame", "field"):
            return frame.duration or None
        return last_duration(self._decoder.stream(), self._source, frame, pts)

    def _ticks(self) -> int:
        """Return how many ticks of `info` make one tick of the file."""
        return 2 if self._settings.deinterlace == "field" else 1

    def _nothing(self) -> InputError:
        last, settings = self._decoder.clock.last_pts, self._settings
        if last is None:
            return InputError(f"{self.info.path}: no frame could be decoded; the file is damaged")
        return InputError(
            f"{self.info.path}: no frame between start {settings.start_s or 0} s and "
            f"end {'of video' if settings.end_s is None else f'{settings.end_s} s'}; "
            f"its last frame is at {seconds(self._source, last)}"
        )


_T = TypeVar("_T")


def _with_next(items: Iterable[_T]) -> Iterator[tuple[_T, _T | None]]:
    """Yield each item with its successor, None for the last."""
    iterator = iter(items)
    for current in iterator:
        for following in iterator:
            yield current, following
            current = following
        yield current, None
