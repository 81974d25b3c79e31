"""Write a video with exact times, beside untouched copies of every other stream of its source."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from patchvsr.errors import OutputError
from patchvsr.media import images, publish
from patchvsr.media.color import ColorConverter
from patchvsr.media.encoders import Encoder, EncodeSettings, choose_encoder, nominal_rate, open_encoder
from patchvsr.media.frames import Frame, FrameWriter
from patchvsr.media.info import StreamInfo, VideoInfo
from patchvsr.media.reader import check_range, range_pts
from patchvsr.media.streams import StreamCopier

__all__ = ["EncodeSettings", "VideoWriter", "open_writer"]

# The only place for muxer flags. bitexact: no random identifiers, dates or versions in the file.
MUXER_OPTIONS = {"fflags": "+bitexact"}

# Matroska stores the shape of a pixel only when PyAV can tell it, which it cannot for these codecs.
_NO_ASPECT_IN_MATROSKA = ("ffv1", "libsvtav1", "libaom-av1")


def open_writer(
    path: str | Path,
    *,
    source: VideoInfo,
    width: int,
    height: int,
    settings: EncodeSettings | None = None,
    overwrite: bool = False,
    start_s: float | None = None,
    end_s: float | None = None,
    skip_streams: Collection[int] = (),
) -> VideoWriter | images.ImageWriter:
    """Open an output for frames of `width` x `height` pixels made from `source`.

    The name decides: a folder, a name without a suffix, or a pattern such as `out/%06d.png` gives PNG
    images (8 or 16 bits as the source; `settings` and other streams do not apply), any other name a video.
    Missing folders are created. With a range, frames and packets are moved so that the range starts at 0.
    `skip_streams` are indexes of source streams to leave out.

    Everything is checked here, before a frame is written. Raises OutputError (exists, cannot be written, a
    stream does not fit) and SettingsError (codec, option, pixel format, range).
    """
    check_range(start_s, end_s)
    if images.means_sequence(path):
        return images.ImageWriter(path, source=source, width=width, height=height, overwrite=overwrite)
    _check_target(Path(path), source, overwrite)
    encoder = choose_encoder(settings or EncodeSettings(), source, width, height)
    first, last = range_pts(source, start_s, end_s)
    return VideoWriter(
        Path(path),
        source=source,
        size=(width, height),
        encoder=encoder,
        first_pts=first,
        last_pts=last,
        skip_streams=skip_streams,
    )


class VideoWriter(FrameWriter):
    """A video being written; see `open_writer`.

    Times: the muxed times equal the given ones, exactly in MP4 and MOV; Matroska counts in milliseconds,
    so there each time is rounded to the nearest one (and all streams move together if one starts below 0).

    Durations: Matroska stores one with each frame. MP4 and MOV store only the steps between decoding times;
    with B-frames and a variable rate these are not the durations of the frames they stand beside, and what a
    decoder reports as the duration of a frame is wrong. The format has no place for better. A frame lasts until
    the next time, and the last one until the end of the track, which the header holds to a millisecond;
    `open_reader` goes by that.
    """

    def __init__(
        self,
        path: Path,
        *,
        source: VideoInfo,
        size: tuple[int, int],
        encoder: Encoder,
        first_pts: int | None,
        last_pts: int | None,
        skip_streams: Collection[int],
    ) -> None:
        self.frames_written = 0
        self._path, self._source, self._size = path, source, size
        self._pix_fmt = encoder.pix_fmt
        self._shift = first_pts or 0
        self._converter = ColorConverter(source.color)
        self._waiting: dict[int, int | None] = {}  # pts -> duration of frames inside the encoder
        self._first_pts: int | None = None
        self._first_dts: int | None = None
        self._last_pts: int | None = None
        self._last_duration: int | None = None
        self._encoded = 0
        self._done = False
        self._copier: StreamCopier | None = None
        publish.make_parent(path)
        self._temporary = publish.temporary_name(path)
        self._container = _open_container(path, self._temporary)
        try:
            self._stream = self._add_video(encoder)
            base = source.time_base
            self._copier = StreamCopier(
                source,
                self._container,
                skip=skip_streams,
                first=None if first_pts is None else first_pts * base,
                last=None if last_pts is None else last_pts * base,
            )
            with publish.reported(path, self.abort):
                self._container.start_encoding()
        except BaseException:
            self.abort()
            raise

    @property
    def skipped_streams(self) -> tuple[StreamInfo, ...]:  # type: ignore[override]
        """Streams of the source that are not in the output."""
        return tuple(self._copier.skipped) if self._copier else ()

    def write(self, frame: Frame) -> None:
        """Encode one frame; raises OutputError when it cannot be written.

        Frames come in order, in the size and the time base the writer was opened with (else ValueError).
        """
        self._check(frame)
        video = self._converter.from_rgb(frame.rgb, self._pix_fmt, frame.alpha)
        video.pts = frame.pts - self._shift
        video.time_base = frame.time_base
        self._waiting[video.pts] = frame.duration
        self._first_pts = video.pts if self._first_pts is None else self._first_pts
        self._last_pts, self._last_duration = video.pts, frame.duration
        with publish.reported(self._path, self.abort):
            for packet in self._stream.encode(video):
                self._mux(packet)
        self.frames_written += 1

    def close(self) -> None:
        """Finish the file, count its frames, and give it its name; raises OutputError."""
        if self._done:
            return
        with publish.reported(self._path, self.abort):
            if not self.frames_written:
                raise OutputError(f"{self._path}: no frame was written; nothing was created")
            rest = self._stream.encode(None)
            for packet in rest:
                self._mux(packet, last=packet is rest[-1])
            assert self._copier is not None
            self._copier.finish()
            self._copier.close()
            self._container.close()
            self._verify()
            publish.move_file(self._temporary, self._path)
        self._done = True

    def abort(self) -> None:
        """Drop the output; nothing of it stays on the disk."""
        if self._copier is not None:
            self._copier.close()
        with suppress(av.FFmpegError, OSError):  # closing writes an end mark, which may not fit either
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _add_video(self, encoder: Encoder) -> VideoStream:
        source, container = self._source, self._container
        try:
            stream: VideoStream = container.add_stream(encoder.name, rate=nominal_rate(source))  # type: ignore[assignment]
        except ValueError as err:
            raise OutputError(
                f"{self._path}: {container.format.name} cannot hold {encoder.name} video; use .mkv"
            ) from err
        square = source.sample_aspect_ratio in (None, 0, 1)
        if container.format.name in ("matroska", "webm") and encoder.name in _NO_ASPECT_IN_MATROSKA and not square:
            raise OutputError(
                f"{self._path}: the pixel shape {source.sample_aspect_ratio} cannot be kept with "
                f"{encoder.name} in Matroska; use codec h264 or hevc"
            )
        stream.disposition = Disposition.default
        if source.rotation:
            stream.set_display_rotation(source.rotation)
        if encoder.name == "libx265" and container.format.name in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # the only HEVC tag Apple's players accept
        open_encoder(stream, encoder, source, *self._size)
        return stream

    def _check(self, frame: Frame) -> None:
        width, height = self._size
        if frame.rgb.shape != (height, width, 3):
            raise ValueError(f"frame is {frame.rgb.shape}, the writer was opened for {(height, width, 3)}")
        if frame.time_base != self._source.time_base:
            raise ValueError(f"frame has time base {frame.time_base}, the source has {self._source.time_base}")
        if self._last_pts is not None and frame.pts - self._shift <= self._last_pts:
            raise ValueError(f"frame has pts {frame.pts}, not after the previous frame")

    def _mux(self, packet: Packet, last: bool = False) -> None:
        """Mux a video packet, after the packets of other streams that belong before it."""
        assert self._copier is not None and packet.pts is not None and packet.dts is not None
        self._first_dts = packet.dts if self._first_dts is None else self._first_dts
        # The encoder holds frames back, so other streams wait for its packets, not for its input.
        self._copier.copy_until(packet.dts * packet.time_base)
        duration = self._waiting.pop(packet.pts)
        if duration is not None:
            packet.duration = duration
        if last and self._last_duration is not None and self._container.format.name in ("mp4", "mov"):
            left = self._length_left(packet.dts, self._last_duration)
            # The edit list ends with this packet if it is the last one shown: it must not be cut short.
            packet.duration = max(left, self._last_duration) if packet.pts == self._last_pts else left
        self._container.mux(packet)
        self._encoded += 1

    def _length_left(self, dts: int, last_duration: int) -> int:
        """The duration that makes an MP4 track as long as its frames.

        MP4 sums up decoding steps, and with B-frames the last frame decoded is not the last one shown.
        """
        assert self._first_pts is not None and self._first_dts is not None and self._last_pts is not None
        shown = self._last_pts + last_duration - self._first_pts
        return max(1, shown - (dts - self._first_dts))

    def _verify(self) -> None:
        """Count the frames in the finished file; raises OutputError unless all are there."""
        with av.open(str(self._temporary.absolute())) as container:
            found = sum(1 for p in container.demux(video=0) if p.size)
        if not self.frames_written == self._encoded == found:
            raise OutputError(
                f"{self._path}: {self.frames_written} frames given, {self._encoded} encoded, {found} in "
                f"the file; the file was removed, please report this"
            )


def _check_target(path: Path, source: VideoInfo, overwrite: bool) -> None:
    if path.exists() and source.path.exists() and path.samefile(source.path):
        raise OutputError(f"{path}: is the input; choose another name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: already exists; use --overwrite or another name")


def _open_container(path: Path, temporary: Path) -> OutputContainer:
    try:
        return av.open(str(temporary.absolute()), "w", container_options=dict(MUXER_OPTIONS))
    except ValueError as err:
        raise OutputError(f"{path}: unknown kind of file {path.suffix!r}; use .mkv, .mp4 or .mov") from err
