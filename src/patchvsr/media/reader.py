"""Read the frames of a video one by one, with their exact times, and notice when some are missing."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path
from typing import TypeVar

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from patchvsr.errors import InputError, SettingsError
from patchvsr.media import images
from patchvsr.media.color import ColorConverter
from patchvsr.media.frames import Frame, FrameReader
from patchvsr.media.image_names import is_sequence
from patchvsr.media.info import VideoInfo
from patchvsr.media.probe import open_container, probe
from patchvsr.media.timing import Clock, EndCheck, has_pts, last_duration

# Seek a little early: some containers index decoding times, which lie before presentation times.
_SEEK_MARGIN_S = 1


def open_reader(
    path: str | Path, *, start_s: float | None = None, end_s: float | None = None, rate: Fraction | None = None
) -> VideoReader | images.ImageReader:
    """Open a video file, a folder of images or a pattern such as `in/%06d.png`.

    The result is a context manager and an iterator of `Frame`, with `.info`. Frames are decoded as they
    are asked for. With a range, exactly the frames with start_s <= t < end_s come, t in seconds from the
    first frame; their `pts` stay those of the source. `rate`: see `probe`.

    Raises InputError (see `probe`; while iterating: damaged, truncated, no frame in the range) and
    SettingsError for an impossible range or rate.
    """
    check_range(start_s, end_s)
    if is_sequence(path):
        return images.ImageReader(path, start_s=start_s, end_s=end_s, rate=rate)
    return VideoReader(path, start_s=start_s, end_s=end_s, rate=rate)


def check_range(start_s: float | None, end_s: float | None) -> None:
    """Raises SettingsError unless 0 <= start_s < end_s, where given."""
    if start_s is not None and start_s < 0:
        raise SettingsError(f"start {start_s} s is before the video; give 0 or more")
    if end_s is not None and end_s <= (start_s or 0):
        raise SettingsError(f"end {end_s} s is not after start {start_s or 0} s; give a later end")


def range_pts(info: VideoInfo, start_s: float | None, end_s: float | None) -> tuple[int | None, int | None]:
    """The range in ticks of the video: frames with first <= pts < last belong to it."""

    def ticks(seconds: float | None) -> int | None:
        # Through str, so that 0.1 means a tenth and not the nearest binary fraction.
        return None if seconds is None else info.start_pts + ceil(Fraction(str(seconds)) / info.time_base)

    return ticks(start_s), ticks(end_s)


class VideoReader(FrameReader):
    """Frames of a media file; see `open_reader`. Holds two decoded frames at a time."""

    def __init__(
        self, path: str | Path, *, start_s: float | None, end_s: float | None, rate: Fraction | None = None
    ) -> None:
        self.info = probe(path, rate=rate)
        self._start_s, self._end_s = start_s, end_s
        self._start_pts, self._end_pts = range_pts(self.info, start_s, end_s)
        self._converter = ColorConverter(self.info.color, chroma_unsited=self.info.chroma_unsited)
        self._container: InputContainer = open_container(path)
        self._frames = self._read()

    def close(self) -> None:
        """Release the file; iterating afterwards yields nothing."""
        super().close()
        self._container.close()

    def _read(self) -> Generator[Frame]:
        count, last_pts = 0, None
        for (frame, pts), following in _with_next(self._decode_range()):
            last_pts = pts
            if self._start_pts is not None and pts < self._start_pts:
                continue
            if self._end_pts is not None and pts >= self._end_pts:
                break
            if frame.is_corrupt:
                raise self._broken(count, pts, "is damaged")
            # What containers say about durations is often a nominal value; the next frame's time is not.
            duration = (following[1] - pts) if following else last_duration(self._stream(), self.info, frame, pts)
            alpha = self._converter.to_alpha(frame) if self.info.has_alpha else None
            yield Frame(self._converter.to_rgb(frame), pts, duration, self.info.time_base, alpha)
            count += 1
        if not count:
            raise self._nothing(last_pts)

    def _decode_range(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Decode from the key frame before the start; from the beginning if the seek landed late."""
        if self._start_pts is None or self._start_pts <= self.info.start_pts or not has_pts(self.info):
            return self._decode()
        try:
            target = self._start_pts - ceil(_SEEK_MARGIN_S / self.info.time_base)
            self._container.seek(max(target, self.info.start_pts), stream=self._stream())
            decoded = self._decode(resumed=True)
            first = next(decoded, None)
        except (av.FFmpegError, InputError):  # not every format can seek
            first = None
        if first is not None and first[1] <= self._start_pts:
            return chain([first], decoded)
        self._container.close()
        self._container = open_container(self.info.path)
        return self._decode()

    def _decode(self, resumed: bool = False) -> Iterator[tuple[av.VideoFrame, int]]:
        """(frame, pts) up to the end of the file, which is then checked to be the real end."""
        clock, end, count = Clock(self.info), EndCheck(self._container, self.info), 0
        for packet in self._packets(clock):
            end.see(packet)
            # Not packet.stream_index: that is 0 for the empty packet that ends any stream.
            if packet.stream.index != self.info.video_index:
                continue
            clock.feed(packet)
            for frame in self._decode_packet(packet, clock, first=count == 0):
                if resumed and count == 0 and frame.pts is None:
                    return  # after a seek, a missing time cannot be counted up from the beginning
                count += 1
                self._check_size(frame, clock)
                yield frame, self._stamp(frame, clock)
        end.check(clock)

    def _packets(self, clock: Clock) -> Iterator[Packet]:
        try:
            yield from self._container.demux()
        except av.FFmpegError as err:
            raise self._broken(clock.count, clock.last_pts, f"cannot be read ({_reason(err)})") from err

    def _decode_packet(self, packet: Packet, clock: Clock, first: bool) -> list[av.VideoFrame]:
        try:
            return packet.decode()  # type: ignore[return-value]
        except av.FFmpegError as err:
            if first and not packet.is_keyframe:
                return []  # a recording may start between key frames; nobody can decode that
            raise self._broken(clock.count, clock.last_pts, f"cannot be decoded ({_reason(err)})") from err

    def _stamp(self, frame: av.VideoFrame, clock: Clock) -> int:
        previous = clock.last_pts
        pts = clock.stamp(frame)
        if previous is not None and pts <= previous:
            raise InputError(
                f"{self.info.path}: time runs backwards at frame {clock.count - 1} "
                f"({_seconds(self.info, pts)}); "
                f"remux the file, for example `ffmpeg -fflags +genpts -i IN -c copy OUT`"
            )
        return pts

    def _check_size(self, frame: av.VideoFrame, clock: Clock) -> None:
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise InputError(
                f"{self.info.path}: the picture changes from {self.info.width}x{self.info.height} to "
                f"{frame.width}x{frame.height} at frame {clock.count}; cut the file there"
            )

    def _stream(self) -> VideoStream:
        return self._container.streams[self.info.video_index]  # type: ignore[return-value]

    def _broken(self, index: int, pts: int | None, what: str) -> InputError:
        where = "" if pts is None else f", about {_seconds(self.info, pts)}"
        return InputError(f"{self.info.path}: frame {index}{where}, {what}; the file is damaged or truncated")

    def _nothing(self, last_pts: int | None) -> InputError:
        if last_pts is None:
            return InputError(f"{self.info.path}: no frame could be decoded; the file is damaged")
        return InputError(
            f"{self.info.path}: no frame between start {self._start_s or 0} s and "
            f"end {'of video' if self._end_s is None else f'{self._end_s} s'}; "
            f"its last frame is at {_seconds(self.info, last_pts)}"
        )


_T = TypeVar("_T")


def _with_next(items: Iterable[_T]) -> Iterator[tuple[_T, _T | None]]:
    """Each item with the one after it."""
    iterator = iter(items)
    for current in iterator:
        for following in iterator:
            yield current, following
            current = following
        yield current, None


def _seconds(info: VideoInfo, pts: int) -> str:
    return f"{float((pts - info.start_pts) * info.time_base):.3f} s"


def _reason(err: av.FFmpegError) -> str:
    return (err.strerror or type(err).__name__).lower()
