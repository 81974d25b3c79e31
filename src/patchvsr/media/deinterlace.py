"""Deinterlace frames with FFmpeg's bwdif filter."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.filter import Graph

from patchvsr.errors import InputError
from patchvsr.media.decoder import Decoder
from patchvsr.media.info import VideoInfo
from patchvsr.media.timing import last_duration

# Of the filter, for the modes of `ReadSettings.deinterlace` that need it.
_FILTER_MODES = {"frame": "send_frame", "field": "send_field"}


def deinterlaced_info(info: VideoInfo, mode: str | None) -> VideoInfo:
    """Return the video after deinterlacing; `field` halves the tick, so that times between frames are exact."""
    if mode is None or mode == "off":
        return info
    if mode == "frame":
        return replace(info, interlaced=False)
    double = 2 if info.interlaced else 1
    return replace(
        info,
        interlaced=False,
        time_base=info.time_base / 2,
        start_pts=info.start_pts * 2,
        average_rate=info.average_rate and info.average_rate * double,
        declared_frames=info.declared_frames and info.declared_frames * double,
    )


def refuse_interlaced(info: VideoInfo, where: str) -> InputError:
    """Return the error for interlaced video without a deinterlacing mode; `where` says from which frame on."""
    return InputError(
        f"{info.path}: is interlaced{where}: add --deinterlace frame (same frame rate), --deinterlace field (double "
        f"rate), or --deinterlace off if its pictures are whole and only flagged as interlaced"
    )


class Deinterlacer:
    """Turn the frames of a video into progressive (frame, pts); see `open_reader` for the modes.

    Progressive frames of a mixed video pass unchanged, once, in both modes. The first field has the time of its frame,
    the second that of the midpoint to the next frame. The field order is read from each frame. The filter looks one
    frame back and one ahead, so the first frame after a seek differs from that of a read from the beginning.
    """

    def __init__(self, decoder: Decoder, mode: str) -> None:
        self._decoder, self._mode = decoder, mode
        self._info = decoder.info  # the video before deinterlacing
        self._graph: Graph | None = None
        # pts and duration (0: unknown) of frames inside the filter, in ticks of the result.
        self._due: deque[tuple[int, int]] = deque()

    def run(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Yield progressive frames with their times; raise InputError if bwdif does not support the pixel format."""
        previous: tuple[int, bool] | None = None
        duration: int | None = None
        for frame, pts in self._decoder.frames():
            if previous is not None:
                self._expect(*previous, pts - previous[0])
            previous = (pts, frame.interlaced_frame)
            duration = last_duration(self._decoder.stream(), self._info, frame, pts)
            self._push(frame, pts)
            yield from self._pull()
        if previous is not None:
            self._expect(*previous, duration)
            self._push(None, 0)
            yield from self._pull()
        assert not self._due, f"{self._info.path}: bwdif kept {len(self._due)} frames"

    def _expect(self, pts: int, interlaced: bool, duration: int | None) -> None:
        """Queue the times of the frames that the filter makes of a frame, once its duration is known."""
        if self._mode == "frame":
            self._due.append((pts, duration or 0))
        elif interlaced:
            length = duration or self._nominal()
            self._due += [(2 * pts, length), (2 * pts + length, length)]
        else:
            self._due.append((2 * pts, 2 * (duration or 0)))

    def _push(self, frame: av.VideoFrame | None, pts: int) -> None:
        if frame is not None:
            self._graph = self._graph or self._build(frame)
            frame.pts, frame.time_base = pts, self._info.time_base
        assert self._graph is not None
        self._graph.push(frame)

    def _pull(self) -> Iterator[tuple[av.VideoFrame, int]]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            if frame.format.name != self._info.pix_fmt:
                raise InputError(
                    f"{self._info.path}: {self._info.pix_fmt} cannot be deinterlaced; convert it to yuv422p first"
                )
            pts, frame.duration = self._due.popleft()
            yield frame, pts

    def _build(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._info.time_base
        )
        bwdif = graph.add("bwdif", f"mode={_FILTER_MODES[self._mode]}:parity=auto:deint=interlaced")
        graph.link_nodes(source, bwdif, graph.add("buffersink"))
        graph.configure()
        return graph

    def _nominal(self) -> int:
        return max(1, round(1 / ((self._info.average_rate or Fraction(24)) * self._info.time_base)))
