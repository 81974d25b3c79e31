"""Write a video file with exact frame times and unchanged copies of all other source streams."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from math import lcm
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from patchvsr import files
from patchvsr.errors import InputError, OutputError
from patchvsr.media.contents import Contents, check_times, video_contents
from patchvsr.media.encoders import Encoder, encoder_notices
from patchvsr.media.hdr_header import CODECS
from patchvsr.media.info import VideoInfo
from patchvsr.media.output import FrameTimes, Output
from patchvsr.media.segment import EncodedFrame, FrameEncoder
from patchvsr.media.streams.containers import MP4_FAMILY, add_video_copy
from patchvsr.media.streams.copier import StreamCopier
from patchvsr.media.video_encoder import Nowhere, VideoEncoder, add_encoder, encoder_alone, mark_video, new_container
from patchvsr.pixels.size import Size


class VideoOutput(Output):
    """A video file; see `writer.open_output`.

    Encoders see a constant nominal rate; the muxer gets the true times, which are exact in MP4 and MOV. Matroska counts
    in milliseconds, so its times are rounded to the nearest one, and all streams shift together if one starts below 0.

    Durations: Matroska stores one per frame. MP4 and MOV store only DTS deltas. With B-frames and a variable rate these
    are not the durations of their frames, so the durations that a decoder reports are wrong; the format cannot express
    them. A frame lasts until the next PTS, and the last one until the end of the track, which the header holds.
    `open_reader` relies on that.
    """

    def __init__(
        self,
        path: Path,
        *,
        source: VideoInfo,
        size: Size,
        encoder: Encoder,
        first_pts: int | None,
        last_pts: int | None,
        skip_streams: Collection[int],
    ) -> None:
        """Validate the output; first_pts, last_pts: range of the source in ticks; skip_streams: source indexes."""
        self.path, self._source, self._size, self._encoder = path, source, size, encoder
        self._first_pts, self._last_pts, self._skip = first_pts, last_pts, tuple(skip_streams)
        self.profile = {
            "container": path.suffix,
            "encoder": encoder.name,
            "pix_fmt": encoder.pix_fmt,
            "options": dict(encoder.options),
            "skip_streams": list(self._skip),
        }
        self.notices = self._try()

    def rehearse(self, frames: int) -> None:
        try:
            with self._container(Nowhere(self.path)) as (_, _, copier):
                copier.finish()
        except (av.InvalidDataError, av.ArgumentError) as err:  # raised when muxing ends, so the stream is unknown
            raise InputError(
                f"{self._source.path}: its audio, subtitles or data cannot be copied ({str(err.strerror).lower()}); "
                "get a good copy, or leave the damaged stream out"
            ) from err

    def encoder(self) -> FrameEncoder:
        return VideoEncoder(self.path, self._source, self._size, self._encoder)

    def assemble(self, frames: Iterable[EncodedFrame], times: FrameTimes, *, reorder: int, folder: Path) -> Contents:
        file = self._file_below(folder)
        with files.reported(self.path, lambda: self.discard(folder)):
            with self._container(file) as (container, stream, copier):
                times = self._shifted(times)
                muxer = _VideoMuxer(container, stream, copier, times, reorder, self._source.time_base)
                for frame in frames:
                    muxer.mux(frame)
                copier.finish()
            contents = video_contents(file)
            expected = [pts * self._source.time_base for pts in times.pts]
            check_times(contents, expected, self.path, movable=container.format.name not in MP4_FAMILY)
        return contents

    def discard(self, folder: Path) -> None:
        self._file_below(folder).unlink(missing_ok=True)

    def publish(self, folder: Path) -> None:
        with files.reported(self.path, lambda: None):
            files.move_file(self._file_below(folder), self.path)

    def _file_below(self, folder: Path) -> Path:
        return folder / f"output{self.path.suffix}"

    def _try(self) -> tuple[str, ...]:
        """Write the header of such a file to nowhere, to find out whether every stream fits; return the notices."""
        with files.reported(self.path, lambda: None), self._container(Nowhere(self.path)) as (_, _, copier):
            in_header = self._hdr_in_header
            return (*encoder_notices(self._encoder, self._source, hdr_in_header=in_header), *copier.notices)

    @property
    def _hdr_in_header(self) -> bool:
        """Whether HDR metadata goes into the container, because the codec's bit stream cannot carry it."""
        codec = av.Codec(self._encoder.name, "w").canonical_name
        nothing_written = codec == "vp9" and self.path.suffix.lower() in (".mp4", ".m4v")
        return self._source.hdr is not None and codec in CODECS and not nothing_written

    @contextmanager
    def _container(self, file: Path | Nowhere) -> Iterator[tuple[OutputContainer, VideoStream, StreamCopier]]:
        """Open a container with all its streams and write its header."""
        container = new_container(self.path, file)
        copier = None
        try:
            stream = self._add_video(container)
            base = self._source.time_base
            copier = StreamCopier(
                self._source,
                container,
                skip=self._skip,
                first=None if self._first_pts is None else self._first_pts * base,
                last=None if self._last_pts is None else self._last_pts * base,
            )
            if container.format.name in MP4_FAMILY:
                container.container_options["movie_timescale"] = str(_movie_clock(container, base))
            try:
                container.start_encoding()
            except av.ArgumentError as err:  # the copied streams were tried one by one, so it is the video
                other = ".mov" if self.path.suffix.lower() == ".mkv" else ".mkv"
                raise OutputError(
                    f"{self.path}: {self.path.suffix} cannot hold {self._encoder.name} video; use {other}"
                ) from err
            yield container, stream, copier
            container.close()
        except BaseException:
            with suppress(av.FFmpegError, OSError):  # closing writes a trailer, for which there may be no room either
                container.close()
            raise
        finally:
            if copier is not None:
                copier.close()

    def _add_video(self, container: OutputContainer) -> VideoStream:
        if not self._hdr_in_header:
            return add_encoder(container, self.path, self._source, self._size, self._encoder)
        with encoder_alone(self.path, self._source, self._size, self._encoder) as opened:
            stream = add_video_copy(container, opened, self._source.hdr)
        mark_video(stream, self._source)
        return stream

    def _shifted(self, times: FrameTimes) -> FrameTimes:
        shift = self._first_pts or 0
        return FrameTimes([pts - shift for pts in times.pts], times.durations)


class _VideoMuxer:
    """Mux encoded frames with their times, interleaved with the packets of the other streams."""

    def __init__(
        self,
        container: OutputContainer,
        stream: VideoStream,
        copier: StreamCopier,
        times: FrameTimes,
        reorder: int,
        time_base: Fraction,
    ) -> None:
        self._container, self._stream, self._copier = container, stream, copier
        self._times, self._reorder, self._time_base = times, reorder, time_base
        self._muxed = 0

    def mux(self, frame: EncodedFrame) -> None:
        pts, duration = self._times.pts, self._times.durations[frame.order]
        packet = av.Packet(frame.data)
        packet.stream, packet.time_base = self._stream, self._time_base
        packet.pts, packet.dts = pts[frame.order], self._decoding_time(self._muxed)
        packet.is_keyframe = frame.is_keyframe
        if self._muxed == len(pts) - 1 and self._container.format.name in MP4_FAMILY:
            duration = self._length_left(packet.dts, frame.order, duration)
        if duration is not None:
            packet.duration = duration
        self._copier.copy_until(packet.dts * self._time_base)
        self._container.mux(packet)
        self._muxed += 1

    def _decoding_time(self, place: int) -> int:
        """Return the DTS of the packet at `place`: the PTS of `reorder` frames earlier, so that DTS <= PTS holds."""
        pts, ahead = self._times.pts, self._reorder
        return pts[place - ahead] if place >= ahead else pts[0] + pts[place] - pts[ahead]

    def _length_left(self, dts: int, order: int, duration: int | None) -> int | None:
        """Return the duration of the last packet that makes an MP4 track as long as its frames, in ticks.

        MP4 sums DTS deltas, and with B-frames the last frame decoded is not the last one shown. If this packet is the
        last one shown, the edit list ends with it, so it must not be cut short.
        """
        last = self._times.durations[-1]
        if last is None:
            return duration
        left = max(1, self._times.pts[-1] + last - self._times.pts[0] - (dts - self._decoding_time(0)))
        return max(left, last) if order == len(self._times.pts) - 1 else left


def _movie_clock(container: OutputContainer, video_base: Fraction) -> int:
    """Return the MP4 movie timescale in ticks per second, on which the file stores where tracks begin and end.

    The muxer's default is milliseconds. This one represents every time of the video exactly and, unless the number
    exceeds 31 bits, those of the audio streams.
    """
    clock = lcm(1000, video_base.denominator)
    for rate in sorted({stream.codec_context.sample_rate for stream in container.streams.audio}):
        finer = lcm(clock, rate or 1)
        clock = finer if finer < 2**31 else clock
    return clock
