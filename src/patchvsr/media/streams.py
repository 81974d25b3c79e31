"""Copy what is not video: audio, subtitles, attachments, chapters, tags. Packets are not touched."""

from __future__ import annotations

from collections.abc import Collection, Generator
from fractions import Fraction
from math import floor

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from patchvsr.errors import InputError, OutputError
from patchvsr.media.info import StreamInfo, VideoInfo
from patchvsr.media.probe import open_container

COPIED_TYPES = ("audio", "subtitle", "attachment")

# Tags that describe the source file rather than its content, and that the muxer writes itself.
_OWN_TAGS = {"encoder", "duration", "major_brand", "minor_version", "compatible_brands"}
_STATISTICS = ("BPS", "NUMBER_OF_", "_STATISTICS", "SOURCE_ID")

# How far apart packets of the same time may lie in a file.
_INTERLEAVE_SLACK_S = 10


class StreamCopier:
    """Feeds the packets of all other streams of a source into an output, up to a given time.

    Only one packet is held. With a range, packets that start inside it are kept and moved so that the
    range starts at 0. `skipped` lists the streams left out: data streams, cover art, and those asked for.

    Raises OutputError when the container cannot hold a stream.
    """

    def __init__(
        self,
        source: VideoInfo,
        output: OutputContainer,
        *,
        skip: Collection[int] = (),
        first: Fraction | None = None,
        last: Fraction | None = None,
    ) -> None:
        """first, last: the range in seconds on the clock of the source."""
        self._source, self._output = source, output
        self._first, self._last = first, last
        self.skipped: list[StreamInfo] = []
        self._targets: dict[int, Stream] = {}
        self._input: InputContainer | None = None
        if source.container != "image2":
            self._input = open_container(source.path)
            self._add_streams(self._input, skip)
            _copy_tags(self._input.metadata, output.metadata)
            self._copy_chapters(self._input)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def copy_until(self, time: Fraction) -> None:
        """Mux every packet that belongs before `time`, in seconds of the output."""
        while self._next is not None and _time(self._next) <= time:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Mux the packets that are left."""
        while self._next is not None:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Release the source."""
        self._packets.close()
        if self._input is not None:
            self._input.close()

    def _add_streams(self, container: InputContainer, skip: Collection[int]) -> None:
        for info, stream in zip(self._source.streams, container.streams, strict=False):
            if info.index == self._source.video_index:
                _copy_tags(stream.metadata, self._output.streams.video[0].metadata)
            elif info.index in skip or info.type not in COPIED_TYPES:
                self.skipped.append(info)
            else:
                self._targets[info.index] = self._add_stream(info, stream)

    def _add_stream(self, info: StreamInfo, stream: Stream) -> Stream:
        try:
            target = self._output.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.FFmpegError) as err:
            name = self._output.format.name
            advice = "leave that stream out" if name == "matroska" else "use .mkv, or leave that stream out"
            raise OutputError(f"{info} does not fit into {name}; {advice}") from err
        target.disposition = stream.disposition
        _copy_tags(stream.metadata, target.metadata)
        return target

    def _read(self) -> Generator[Packet]:
        """Packets to mux, with the times and the stream they have in the output."""
        timed = [i for i, target in self._targets.items() if target.type != "attachment"]
        if self._input is None or not timed:
            return
        if self._first:
            target = floor((self._first - _INTERLEAVE_SLACK_S) * av.time_base)
            self._input.seek(max(target, self._input.start_time or 0))
        try:
            for packet in self._input.demux(*(self._input.streams[i] for i in timed)):
                if packet.size == 0 and packet.dts is None:  # the mark of the end, not a packet
                    continue
                if self._last is not None and _time(packet) >= self._last + _INTERLEAVE_SLACK_S:
                    return
                if self._inside(packet):
                    yield self._moved(packet)
        except av.FFmpegError as err:
            raise InputError(
                f"{self._source.path}: its audio or subtitles cannot be read; the file is damaged"
            ) from err

    def _inside(self, packet: Packet) -> bool:
        time = _time(packet)
        return (self._first is None or time >= self._first) and (self._last is None or time < self._last)

    def _moved(self, packet: Packet) -> Packet:
        if self._first:
            shift = round(self._first / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = self._targets[packet.stream.index]
        return packet

    def _copy_chapters(self, container: InputContainer) -> None:
        chapters = []
        for chapter in container.chapters():
            base = chapter["time_base"] or Fraction(1, av.time_base)
            first = round((self._first or 0) / base)
            last = None if self._last is None else round(self._last / base)
            if chapter["end"] <= first or (last is not None and chapter["start"] >= last):
                continue
            end = chapter["end"] if last is None else min(chapter["end"], last)
            chapters.append({**chapter, "start": max(chapter["start"], first) - first, "end": end - first})
        if chapters:
            self._output.set_chapters(chapters)  # type: ignore[arg-type]


def _time(packet: Packet) -> Fraction:
    """When a packet is due, in seconds."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * packet.time_base


def _copy_tags(source: dict[str, str], target: dict[str, str]) -> None:
    for key, value in source.items():
        if key.lower() not in _OWN_TAGS and not key.upper().startswith(_STATISTICS):
            target[key] = value
