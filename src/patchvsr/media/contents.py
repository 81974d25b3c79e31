"""Record the contents of a finished output frame by frame, to check it when made and verify it later."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Stream

from patchvsr.errors import InputError, OutputError
from patchvsr.media.images.names import means_sequence, output_images
from patchvsr.media.probe import open_container, video_stream


@dataclass(frozen=True)
class StreamContents:
    """A stream other than the video.

    crc: CRC-32 over the codec extradata and the timestamps and payloads of all packets.
    """

    index: int
    type: str
    packets: int
    crc: int


@dataclass(frozen=True)
class Contents:
    """The contents of an output; equal contents decode to equal frames at equal times.

    size_bytes: total size of all files.
    time_base: seconds per tick, as text; empty for images.
    setup_crc: CRC-32 of the codec, the frame size and the extradata.
    pts: in display order, in ticks of `time_base`; empty for images.
    crcs: CRC-32 of every frame's encoded bytes, in display order.
    streams: all other streams.
    """

    size_bytes: int
    time_base: str
    setup_crc: int
    pts: list[int]
    crcs: list[int]
    streams: list[StreamContents]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Contents:
        return cls(**{**stored, "streams": [StreamContents(**stream) for stream in stored["streams"]]})

    def difference(self, found: Contents) -> str | None:
        """Return the first difference of `found` in words, or None if there is none."""
        if len(self.crcs) != len(found.crcs):
            return f"{len(self.crcs)} frames were written, {len(found.crcs)} are there"
        if self.setup_crc != found.setup_crc:
            return "the header of the video is not the one that was written"
        for number, (before, after) in enumerate(zip(self.crcs, found.crcs, strict=True)):
            if before != after:
                return f"frame {number} is not the one that was written"
        if (self.time_base, self.pts) != (found.time_base, found.pts):
            number = next((i for i, (a, b) in enumerate(zip(self.pts, found.pts, strict=False)) if a != b), 0)
            return f"the time of frame {number} is not the one that was written"
        for stream, other in zip(self.streams, found.streams, strict=False):
            if stream != other:
                return f"stream {stream.index} ({stream.type}) is not the one that was written"
        if len(self.streams) != len(found.streams):
            return f"{len(self.streams)} other streams were written, {len(found.streams)} are there"
        return None


def read_contents(path: Path) -> Contents:
    """Return the contents of a finished video or image sequence; raise InputError if it cannot be read."""
    return image_contents(output_images(path)) if means_sequence(path) else video_contents(path)


def size_bytes(path: Path) -> int:
    """Return the size of a finished output, 0 if it does not exist."""
    if means_sequence(path):
        return sum(file.stat().st_size for file in output_images(path))
    return path.stat().st_size if path.is_file() else 0


def video_contents(path: Path) -> Contents:
    """Return the contents of a video file, demuxed but not decoded; raise InputError if it cannot be read."""
    with open_container(path) as container:
        video = video_stream(container, path)
        frames: list[tuple[int, int]] = []
        others = {s.index: [0, zlib.crc32(_setup(s))] for s in container.streams if s.index != video.index}
        try:
            for packet in container.demux():
                if not packet.size:
                    continue
                if packet.stream.index == video.index:
                    frames.append((packet.pts or 0, zlib.crc32(bytes(packet))))
                else:
                    other = others[packet.stream.index]
                    time = f"{packet.pts} {packet.dts} {packet.time_base}".encode()
                    other[0], other[1] = other[0] + 1, zlib.crc32(bytes(packet), zlib.crc32(time, other[1]))
        except av.FFmpegError as error:
            raise InputError(f"{path}: cannot be read to its end ({error.strerror}); it is damaged") from error
        frames.sort()
        streams = [
            StreamContents(index, container.streams[index].type, packets, crc)
            for index, (packets, crc) in others.items()
        ]
        return Contents(
            path.stat().st_size,
            str(video.time_base),
            zlib.crc32(f"{video.codec_context.name} {video.width}x{video.height} ".encode() + _setup(video)),
            [pts for pts, _ in frames],
            [crc for _, crc in frames],
            streams,
        )


def _setup(stream: Stream) -> bytes:
    """Return the codec extradata, or the data of an attachment."""
    context = stream.codec_context
    return bytes((context.extradata if context else getattr(stream, "data", None)) or b"")


def image_contents(files: list[Path]) -> Contents:
    """Return the contents of images given in order; raise InputError if one cannot be read."""
    try:
        size = sum(file.stat().st_size for file in files)
        return Contents(size, "", 0, [], [zlib.crc32(file.read_bytes()) for file in files], [])
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({(error.strerror or '').lower()})") from error


def check_times(contents: Contents, expected: list[Fraction], path: Path, *, movable: bool) -> None:
    """Raise OutputError unless a video has the expected times in seconds, to within half a tick of its time base.

    movable: allow one common shift. Matroska has no negative timestamps, so its muxer shifts all streams if one starts
        below 0.
    """
    if len(contents.pts) != len(expected):
        raise OutputError(
            f"{path}: {len(expected)} frames were muxed, {len(contents.pts)} are in the file; please report this"
        )
    tick = Fraction(contents.time_base)
    shift = contents.pts[0] * tick - expected[0]
    shift = shift if movable and abs(shift) > tick / 2 else Fraction(0)
    tolerance = tick if shift else tick / 2
    for number, (pts, time) in enumerate(zip(contents.pts, expected, strict=True)):
        if abs(pts * tick - time - shift) > tolerance:
            raise OutputError(
                f"{path}: frame {number} came out at {float(pts * tick):.6f} s instead of "
                f"{float(time + shift):.6f} s; please report this"
            )
