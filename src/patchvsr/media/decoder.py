"""Decode the video of a media file from a given point on: every frame with its time, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from patchvsr.errors import InputError
from patchvsr.media.info import VideoInfo
from patchvsr.media.probe import open_container
from patchvsr.media.timing import Clock, EndCheck, LossCheck, has_pts

# The strictest flags with which all good files decode. Measured with single bit flips, they detect 91 % instead of 12 %
# of the damage that changes a frame in H.265 with picture hashes, about 70 % in H.264, and next to nothing in VP9 and
# ProRes, whose decoders accept any bits as a picture.
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}

# How far before a time to look for key frames: some containers index DTS, some only byte positions.
_SEEK_MARGINS_S = (0, 1, 4, 16, 64)


class Decoder:
    """Decode the video stream of `info` with frame times in its ticks; see `frames`.

    Raises InputError while iterating if frames are damaged or lost, the file is truncated, the frame size changes or
    time runs backwards.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.sought = False
        self.clock = Clock(info)
        self._container: InputContainer = open_container(info.path)
        self.stream().codec_context.options = dict(_STRICT)

    def close(self) -> None:
        self._container.close()

    def seek_before(self, pts: int) -> bool:
        """Seek to the second-last key frame before `pts` or an earlier one; return False if that is not possible.

        A decoder that starts at a key frame may return wrong pictures around it (open GOP, gradual refresh), and a
        deinterlacer needs the previous frame. From the next key frame on, all frames match a read from the beginning.
        """
        if not has_pts(self.info) or pts <= self.info.start_pts:
            return False
        nearest: int | None = None
        try:
            for margin_s in _SEEK_MARGINS_S:
                target = max(self.info.start_pts, pts - ceil(margin_s / self.info.time_base))
                key = self._seek_key(target)
                if key is None or key > pts:
                    continue
                nearest = key if nearest is None else nearest
                if key < nearest:
                    self._container.seek(target, stream=self.stream())
                    self.sought = True
                    return True
        except (av.FFmpegError, IndexError):  # not every format can seek
            pass
        return False

    def frames(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Yield (frame, pts) up to the end of the file, then check that the file is complete."""
        clock, end, loss = self.clock, EndCheck(self._container, self.info), LossCheck(self.info)
        for packet in self._packets():
            end.see(packet)
            # Not packet.stream_index, which is 0 for the empty packet that ends any stream.
            if packet.stream.index != self.info.video_index:
                continue
            if packet.is_corrupt:
                raise self._broken(
                    "comes at a gap in the data: packets were lost, or parts were put together; get a good copy, "
                    "or accept the gap by remuxing: `ffmpeg -i IN -c copy OUT.mkv`"
                )
            clock.feed(packet)
            loss.feed(packet)
            for frame in self._decode(packet):
                if self.sought and clock.count == 0 and frame.pts is None:
                    return  # after a seek, a missing PTS cannot be derived by counting frames
                self._check_size(frame)
                loss.check(frame, clock)
                yield frame, self._stamp(frame)
        loss.check_end(clock)
        end.check(clock)

    def stream(self) -> VideoStream:
        """Return the stream that is being read."""
        return self._container.streams[self.info.video_index]  # type: ignore[return-value]

    def _broken(self, what: str) -> InputError:
        """Return an error about the next frame to come out of the decoder."""
        where = [] if self.sought else [f"frame {self.clock.count}"]  # earlier frames were not counted
        if self.clock.last_pts is not None:
            where.append(f"about {seconds(self.info, self.clock.last_pts)}")
        return InputError(f"{self.info.path}: {', '.join(where) or 'a frame'}, {what}")

    def _seek_key(self, pts: int) -> int | None:
        """Seek to `pts` and return the PTS of the first key frame found there."""
        self._container.seek(pts, stream=self.stream())
        for packet in self._container.demux(self.stream()):
            if packet.is_keyframe and packet.pts is not None:
                return packet.pts
        return None

    def _packets(self) -> Iterator[Packet]:
        packets = self._container.demux()
        while True:
            try:
                with _complaints(self._container.format.name) as complaints:
                    packet = next(packets, None)
            except av.FFmpegError as err:
                raise self._broken(f"cannot be read ({_reason(err)}); the file is damaged or truncated") from err
            except IndexError as err:  # PyAV knows only the streams found on opening the file
                raise self._broken(
                    "cannot be read (another stream begins there); remux the file: `ffmpeg -i IN -c copy OUT.mkv`"
                ) from err
            if complaints:
                raise self._broken(f"cannot be read ({complaints[0]}); the file is damaged or truncated")
            if packet is None:
                return
            yield packet

    def _decode(self, packet: Packet) -> list[av.VideoFrame]:
        try:
            with _complaints() as complaints:
                frames: list[av.VideoFrame] = packet.decode()
        except av.FFmpegError as err:
            if not self.clock.count and not packet.is_keyframe:
                return []  # a recording may start between key frames, with undecodable frames
            raise self._broken(f"cannot be decoded ({_reason(err)}); the file is damaged or truncated") from err
        if complaints:
            raise self._broken(f"is damaged ({complaints[0]}); get a good copy")
        return frames

    def _stamp(self, frame: av.VideoFrame) -> int:
        previous = self.clock.last_pts
        pts = self.clock.stamp(frame)
        if previous is not None and pts <= previous:
            raise InputError(
                f"{self.info.path}: time runs backwards at frame {self.clock.count - 1} "
                f"({seconds(self.info, pts)}); "
                f"remux the file, for example `ffmpeg -fflags +genpts -i IN -c copy OUT`"
            )
        return pts

    def _check_size(self, frame: av.VideoFrame) -> None:
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise InputError(
                f"{self.info.path}: the picture changes from {self.info.width}x{self.info.height} to "
                f"{frame.width}x{frame.height} at frame {self.clock.count}; cut the file there"
            )


def seconds(info: VideoInfo, pts: int) -> str:
    """Return a time as text for the user, relative to the first frame."""
    return f"{float((pts - info.start_pts) * info.time_base):.3f} s"


@contextmanager
def _complaints(demuxer: str | None = None) -> Iterator[list[str]]:
    """Collect FFmpeg's log messages about damage that it reports nowhere else.

    The Matroska demuxer skips what it cannot parse, up to whole clusters, and the FFV1 decoder returns slices with a
    wrong checksum, both without an error or a flag on the packet or frame.

    demuxer: name of the demuxer whose errors count; CRC mismatches always do.
    """
    level, skip_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.ERROR)
    found: list[str] = []
    try:
        with av.logging.Capture(local=True) as messages:
            yield found
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip_repeated)
    found += [" ".join(text.split()) for _, name, text in messages if name == demuxer or "CRC mismatch" in text]


def _reason(err: av.FFmpegError) -> str:
    return (err.strerror or type(err).__name__).lower()
