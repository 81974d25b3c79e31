"""Assign frame times, and detect lost frames and truncated files."""

from __future__ import annotations

from fractions import Fraction
from heapq import heappop, heappush

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from patchvsr.errors import InputError
from patchvsr.media.info import VideoInfo

_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name for the MP4 and MOV demuxer

# Containers whose header declares a duration, against which truncation can be detected.
_HEADER_DURATION = {"matroska,webm", _MP4}

# AVI stores decoding order only; the PTS that FFmpeg reports are wrong with B-frames.
_NO_PTS = {"avi"}

_ONE_PICTURE_A_PACKET = {"h264", "hevc", "av1", "mpeg2video", "ffv1", "prores", "mjpeg"}


def has_pts(info: VideoInfo) -> bool:
    """Return whether the container stores presentation timestamps."""
    return info.container not in _NO_PTS


def last_duration(stream: VideoStream, info: VideoInfo, frame: av.VideoFrame, pts: int) -> int | None:
    """Return the duration of the last frame of a video in ticks, or None if the file does not specify it.

    MP4 and MOV store DTS deltas. With B-frames the last frame shown is not the last one decoded, and its DTS delta need
    not be its duration. There the end of the track decides. The header usually stores that end to a millisecond only,
    so a delta that agrees with it is preferred.
    """
    step = frame.duration or None
    if info.container != _MP4 or not stream.codec_context.has_b_frames or not stream.duration:
        return step
    left = (stream.start_time or 0) + stream.duration - pts
    agrees = step is not None and abs(left - step) * info.time_base < Fraction(1, 1000)
    return step if agrees or left <= 0 else left


class Clock:
    """Count decoded frames and assign each its time, in ticks.

    The first of these that applies: in containers without PTS, the packet times in ascending order, one per frame; the
    frame's PTS; its DTS, which is correct without B-frames; the previous time plus the previous duration.
    """

    def __init__(self, info: VideoInfo) -> None:
        rate = info.average_rate or Fraction(24)
        self._nominal = max(1, round(1 / (rate * info.time_base)))
        self._step = 0
        self._in_order = not has_pts(info)
        self._packet_times: list[int] = []  # heap: times of packets whose frames are still to come
        self.count = 0
        self.last_pts: int | None = None

    def feed(self, packet: Packet) -> None:
        """Note the time of a packet that goes into the decoder."""
        if self._in_order and packet.size and packet.dts is not None:
            heappush(self._packet_times, packet.dts)

    def stamp(self, frame: av.VideoFrame) -> int:
        """Return the time of the next frame that came out of the decoder."""
        pts = self._stored(frame)
        if pts is None:
            pts = 0 if self.last_pts is None else self.last_pts + self._step
        self._step = frame.duration or self._nominal
        self.last_pts = pts
        self.count += 1
        return pts

    def _stored(self, frame: av.VideoFrame) -> int | None:
        if self._in_order:
            return heappop(self._packet_times) if self._packet_times else None
        if frame.pts is None and frame.dts is not None and (self.last_pts is None or frame.dts > self.last_pts):
            return frame.dts
        return frame.pts


class LossCheck:
    """Detect packets that go into the decoder and never come out as a frame.

    Active only for codecs with one picture per packet, and not for interlaced video, whose fields may have separate
    packets. Packets before the first frame are ignored, because a recording may start between key frames.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._active = info.codec in _ONE_PICTURE_A_PACKET and has_pts(info)
        self._waiting: list[int] = []  # heap: times of packets whose frames are still to come

    def feed(self, packet: Packet) -> None:
        """Note a packet that goes into the decoder."""
        # Packets before an edit list's start are decoded but not shown.
        if self._active and packet.size and packet.pts is not None and not packet.is_discard:
            heappush(self._waiting, packet.pts)

    def check(self, frame: av.VideoFrame, clock: Clock) -> None:
        """Raise InputError if an earlier frame has not come out; call this before the clock counts `frame`."""
        if frame.interlaced_frame or frame.pts is None:
            self._active = False
        if not self._active or frame.pts is None:
            return
        while self._waiting and self._waiting[0] <= frame.pts:
            pts = heappop(self._waiting)
            if pts < frame.pts and clock.count:
                raise self._lost(pts, clock)

    def check_end(self, clock: Clock) -> None:
        """Raise InputError if a frame is missing when the decoder is drained."""
        if self._active and self._waiting and clock.count:
            raise self._lost(self._waiting[0], clock)

    def _lost(self, pts: int, clock: Clock) -> InputError:
        time = float((pts - self._info.start_pts) * self._info.time_base)
        return InputError(
            f"{self._info.path}: the frame at {time:.3f} s, after frame {clock.count - 1}, cannot be decoded; "
            f"the file is damaged"
        )


class EndCheck:
    """Compare the end that the header declares with the end of the last packet of any stream."""

    def __init__(self, container: InputContainer, info: VideoInfo) -> None:
        self._info = info
        start = Fraction(container.start_time or 0, av.time_base)
        self._declared_end: Fraction | None = None
        if container.format.name in _HEADER_DURATION and container.duration:
            # Matroska files declare their end time (as FFmpeg writes it) or their length: assume the earlier end.
            counted_from = start if container.format.name == _MP4 else min(start, Fraction(0))
            self._declared_end = counted_from + Fraction(container.duration, av.time_base)
        elif container.format.name == "avi" and info.declared_frames:
            # For a truncated AVI, FFmpeg shortens the duration, so count frames; a tick is one frame.
            self._declared_end = start + info.declared_frames * info.time_base
        self._end = start
        self._last_video: Fraction | None = None
        # Some Matroska files lack the duration of the last frame: allow for the longest gap seen.
        self._longest_gap = 3 / (info.average_rate or Fraction(24))

    def see(self, packet: Packet) -> None:
        """Note a packet of any stream."""
        if packet.pts is None:
            return
        time = packet.pts * packet.time_base
        self._end = max(self._end, time + (packet.duration or 0) * packet.time_base)
        if packet.stream.index == self._info.video_index:
            if self._last_video is not None:
                self._longest_gap = max(self._longest_gap, abs(time - self._last_video))
            self._last_video = time

    def check(self, clock: Clock) -> None:
        """Raise InputError if more is missing than the unknown duration of the last frame can explain."""
        tolerance = max(Fraction(1, 5), self._longest_gap)
        if self._declared_end is not None and self._declared_end - self._end > tolerance:
            raise InputError(
                f"{self._info.path}: truncated after frame {clock.count - 1}: its header declares "
                f"{float(self._declared_end):.3f} s, its data ends at {float(self._end):.3f} s; "
                f"get a complete copy"
            )
