"""Encode frames as for the output's container, without writing that container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from patchvsr.errors import OutputError
from patchvsr.media.color import ColorConverter
from patchvsr.media.encoders import Encoder, is_coarse, nominal_rate, open_encoder, output_color, tag_frame
from patchvsr.media.frames import Frame
from patchvsr.media.info import VideoInfo
from patchvsr.media.read_back import packet_decoder
from patchvsr.media.segment import EncodedFrame, FrameDecoder, FrameEncoder
from patchvsr.pixels.size import Size

# The only place for muxer flags. bitexact: no random identifiers, dates or versions in the file.
MUXER_OPTIONS = {"fflags": "+bitexact"}

# With these encoders, PyAV cannot pass the sample aspect ratio to the Matroska muxer.
_NO_ASPECT_IN_MATROSKA = ("ffv1", "libsvtav1", "libaom-av1")


class VideoEncoder(FrameEncoder):
    """Encode with the same settings with which the output's header is made."""

    def __init__(self, path: Path, source: VideoInfo, size: Size, encoder: Encoder) -> None:
        self._source, self._size, self._encoder = source, size, encoder
        self._converter = ColorConverter(output_color(encoder, source))
        self._count = 0
        self._until_finished = ExitStack()
        self._stream = self._until_finished.enter_context(encoder_alone(path, source, size, encoder))

    def encode(self, frame: Frame) -> list[EncodedFrame]:
        width, height = self._size
        if frame.rgb.shape != (height, width, 3):
            raise ValueError(f"frame is {frame.rgb.shape}, the output was opened for {(height, width, 3)}")
        if frame.time_base != self._source.time_base:
            raise ValueError(f"frame has time base {frame.time_base}, the source has {self._source.time_base}")
        video = self._converter.from_rgb(frame.rgb, self._encoder.pix_fmt, frame.alpha)
        tag_frame(video, self._encoder, self._source)
        video.pts, video.time_base = self._count, self._stream.codec_context.time_base
        self._count += 1
        return self._encoded(self._stream.encode(video))

    def finish(self) -> list[EncodedFrame]:
        rest = self._encoded(self._stream.encode(None))
        self._until_finished.close()
        return rest

    def decoder(self) -> FrameDecoder | None:
        encoder = self._encoder
        coarse = is_coarse(encoder.name, encoder.pix_fmt, encoder.options)
        return packet_decoder(self._stream.codec_context, output_color(encoder, self._source), is_coarse=coarse)

    def _encoded(self, packets: Iterable[av.Packet]) -> list[EncodedFrame]:
        tick = self._stream.codec_context.time_base
        assert tick is not None
        return [
            EncodedFrame(round((p.pts or 0) * p.time_base / tick), p.is_keyframe, bytes(p)) for p in packets if p.size
        ]


class Nowhere(RawIOBase):
    """A writable, seekable file that discards all data; its name carries the suffix, so that FFmpeg picks a muxer."""

    def __init__(self, path: Path) -> None:
        self.name = f"nowhere{path.suffix}"
        self._place = self._end = 0

    def write(self, data: Any) -> int:
        length = memoryview(data).nbytes
        self._place += length
        self._end = max(self._end, self._place)
        return length

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._place = offset + {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: self._end}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def new_container(path: Path, file: Path | Nowhere) -> OutputContainer:
    """Open the container of an output `path`, written to `file`; raise OutputError for an unknown file type."""
    try:
        target = str(file.absolute()) if isinstance(file, Path) else file
        return av.open(target, "w", container_options=dict(MUXER_OPTIONS))
    except ValueError as err:
        raise OutputError(f"{path}: unknown kind of file {path.suffix!r}; use .mkv, .mp4 or .mov") from err


@contextmanager
def encoder_alone(path: Path, source: VideoInfo, size: Size, encoder: Encoder) -> Iterator[VideoStream]:
    """Open an encoder in a discarded container of the output's format.

    The format decides, for instance, whether the encoder writes its headers into the stream or into extradata.
    """
    container = new_container(path, Nowhere(path))
    try:
        yield add_encoder(container, path, source, size, encoder)
    finally:
        with suppress(av.FFmpegError, OSError):
            container.close()


def add_encoder(container: OutputContainer, path: Path, source: VideoInfo, size: Size, encoder: Encoder) -> VideoStream:
    """Add a stream with an open encoder for frames of `size`; raise OutputError or SettingsError."""
    try:
        stream: VideoStream = container.add_stream(encoder.name, rate=nominal_rate(source))  # type: ignore[assignment]
    except ValueError as err:
        other = ".mov" if container.format.name == "matroska" else ".mkv"
        raise OutputError(f"{path}: {container.format.name} cannot hold {encoder.name} video; use {other}") from err
    square = source.sample_aspect_ratio in (None, 0, 1)
    if container.format.name in ("matroska", "webm") and encoder.name in _NO_ASPECT_IN_MATROSKA and not square:
        raise OutputError(
            f"{path}: the pixel shape {source.sample_aspect_ratio} cannot be kept with "
            f"{encoder.name} in Matroska; use codec h264 or hevc"
        )
    mark_video(stream, source)
    if encoder.name == "libx265" and container.format.name in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # the only HEVC tag Apple's players accept
    open_encoder(stream, encoder, source, size)
    return stream


def mark_video(stream: VideoStream, source: VideoInfo) -> None:
    """Mark a stream as the default video and set its display rotation."""
    stream.disposition = Disposition.default
    if source.rotation:
        stream.set_display_rotation(source.rotation)
