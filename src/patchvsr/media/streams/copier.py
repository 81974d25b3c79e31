"""Copy all streams other than the video into an output: audio, subtitles, pictures, data, attachments, chapters, tags.

Packets are copied unchanged. Only text subtitles are converted, if the container needs another format. A stream that
does not fit is refused if users would miss it (a second audio track), and otherwise reported.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from fractions import Fraction
from math import floor

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from patchvsr.errors import InputError, OutputError
from patchvsr.media.info import StreamInfo, VideoInfo
from patchvsr.media.probe import open_container
from patchvsr.media.streams import containers, tags
from patchvsr.media.streams.pictures import add_picture, read_pictures
from patchvsr.media.streams.subtitles import SubtitleConverter, is_pause

# How far apart, in time, packets of equal time may be interleaved in a file.
_INTERLEAVE_SLACK_S = 10

# AVDISCARD_ALL, which PyAV names only from 18 on.
_DISCARD_ALL = 48


class StreamCopier:
    """Mux the packets of all other streams of a source into an output, up to a given time.

    The new video must already be the first stream of the output; the others follow in source order. Only one packet is
    held. With a range, packets that start inside it are kept and shifted so that the range starts at 0. `notices` has a
    line for the user about everything that is left out or changed. It is complete after construction, before anything
    is written.

    Raises OutputError if the container cannot hold an audio, subtitle or further video stream.
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
        """Add all streams to the output; first, last: the range in seconds on the source's clock."""
        self._source, self._output = source, output
        self._first, self._last = first, last
        self._format = output.format.name
        self.notices: list[str] = []
        self._targets: dict[int, Stream] = {}
        self._converters: dict[int, SubtitleConverter] = {}
        self._pictures: list[Packet] = []
        self._last_dts: dict[int, int] = {}
        self._input: InputContainer | None = None
        if source.container != "image2":
            self._input = open_container(source.path)
            self._add_streams(self._input, skip)
            self.notices += tags.copy_global_tags(self._input, output)
            self._copy_chapters(self._input)
            self.notices += tags.check_timecode(output, moved=bool(first))
        self._packets = self._read()
        self._next = next(self._packets, None)

    def copy_until(self, time: Fraction) -> None:
        """Mux every packet up to `time`, in seconds of the output."""
        while self._next is not None and _time(self._next) <= time:
            self._mux(self._next)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Mux the remaining packets."""
        while self._next is not None:
            self._mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._packets.close()
        if self._input is not None:
            self._input.close()

    def _mux(self, packet: Packet) -> None:
        """Mux a packet; raise InputError if no file can hold it, for instance because time runs backwards."""
        target, place = packet.stream.index, float(_time(packet))
        try:
            self._output.mux(packet)
        except (av.InvalidDataError, av.ArgumentError) as err:
            index = next((i for i, stream in self._targets.items() if stream.index == target), None)
            info = next((info for info in self._source.streams if info.index == index), "a stream")
            raise InputError(
                f"{self._source.path}: {info} is damaged at about {place:.3f} s and cannot be copied "
                f"({str(err.strerror).lower()}); get a good copy, or leave that stream out"
            ) from err

    def _add_streams(self, container: InputContainer, skip: Collection[int]) -> None:
        infos = [info for info in self._source.streams if info.index not in skip]
        pictures = read_pictures(self._source.path, [i.index for i in infos if i.attached_picture])
        for info, stream in zip(self._source.streams, container.streams, strict=False):
            if info.index == self._source.video_index:
                video = self._output.streams.video[0]
                self.notices += tags.copy_stream_tags(info, stream, video, self._format)
            elif info.index in skip:
                self._leave_out(info, "as asked")
            elif info.attached_picture:
                self._add_picture(info, stream, pictures.get(info.index))
            elif info.type == "data":
                self._add_data(info, stream)
            elif info.type == "attachment":
                self._add_attachment(info, stream)
            elif info.type == "subtitle" and not containers.fits(stream, self._format):
                self._convert(info, stream)
            else:
                self._copy(info, stream)

    def _copy(self, info: StreamInfo, stream: Stream) -> None:
        try:
            target = containers.add_copy(self._output, stream)
        except ValueError as err:
            raise self._refusal(info) from err
        if info.type == "video":
            self.notices.append(f"not upscaled: {info}: only the first video is; this one is copied unchanged")
        self._describe(info, stream, target)

    def _convert(self, info: StreamInfo, stream: Stream) -> None:
        try:
            converter = SubtitleConverter(stream, self._output)  # type: ignore[arg-type]
        except ValueError as err:
            raise self._refusal(info) from err
        self._converters[info.index] = converter
        self.notices.append(
            f"converted: {info} to {converter.codec}, which {self._format} takes: fonts, colours and positions are lost"
        )
        self._describe(info, stream, converter.target)

    def _add_picture(self, info: StreamInfo, stream: Stream, picture: Packet | None) -> None:
        if picture is None:
            self._leave_out(info, "the picture is missing")
            return
        try:
            target = add_picture(self._output, stream, picture)  # type: ignore[arg-type]
        except ValueError as err:
            self._leave_out(info, str(err))
            return
        if target is not None:
            picture.stream, picture.pts, picture.dts = target, 0, 0
            self._pictures.append(picture)

    def _add_data(self, info: StreamInfo, stream: Stream) -> None:
        """Copy a data stream if it fits, else report it: cameras add tracks that only their own tools can read."""
        if getattr(stream, "discard", None) == _DISCARD_ALL:
            return  # a track of chapter titles, which are copied as chapters
        timecode = stream.metadata.get("timecode")
        if timecode:  # set as a tag of the video, from which the MP4 and MOV muxers make such a track
            self._output.streams.video[0].metadata.setdefault("timecode", timecode)
        elif containers.fits(stream, self._format):
            self._describe(info, stream, self._output.add_stream_from_template(stream, opaque=True))
        else:
            self._leave_out(info, f"{self._format} holds no such data streams")

    def _add_attachment(self, info: StreamInfo, stream: Stream) -> None:
        """Copy an attachment to Matroska, else report it: no other container has subtitles that use attached fonts."""
        if self._format == "matroska":
            self._describe(info, stream, self._output.add_stream_from_template(stream, opaque=True))
        else:
            self._leave_out(info, f"{self._format} holds no attachments")

    def _describe(self, info: StreamInfo, stream: Stream, target: Stream) -> None:
        self._targets[info.index] = target
        lost = containers.lost_disposition(stream.disposition, self._format)
        target.disposition = stream.disposition & ~lost
        if lost:
            names = ", ".join(str(flag.name) for flag in Disposition if flag & lost)
            self.notices.append(f"not carried: {info} is marked {names}: {self._format} has no place for it")
        self.notices += tags.copy_stream_tags(info, stream, target, self._format)

    def _leave_out(self, info: StreamInfo, reason: str) -> None:
        self.notices.append(f"not copied: {info}: {reason}")

    def _refusal(self, info: StreamInfo) -> OutputError:
        advice = "leave that stream out" if self._format == "matroska" else "use .mkv, or leave that stream out"
        return OutputError(f"{info} does not fit into {self._format}; {advice}")

    def _read(self) -> Generator[Packet]:
        """Yield packets to mux, with their output times and streams."""
        yield from self._pictures
        timed = [i for i, target in self._targets.items() if target.type != "attachment"]
        if self._input is None or not timed:
            return
        if self._first:
            target = floor((self._first - _INTERLEAVE_SLACK_S) * av.time_base)
            self._input.seek(max(target, self._input.start_time or 0))
        try:
            for packet in self._input.demux(*(self._input.streams[i] for i in timed)):
                if packet.size == 0 and packet.dts is None:  # a flush packet
                    continue
                if is_pause(packet):  # muxers write their own gaps
                    continue
                self._give_duration(packet)
                if self._last is not None and _time(packet) >= self._last + _INTERLEAVE_SLACK_S:
                    return
                if self._inside(packet):
                    yield from self._prepared(packet)
        except av.FFmpegError as err:
            raise InputError(
                f"{self._source.path}: its audio, subtitles or data cannot be read; the file is damaged"
            ) from err

    def _give_duration(self, packet: Packet) -> None:
        """Set a missing duration to the DTS step from the previous packet.

        MP4 needs one for the last packet, or the track ends before it.
        """
        index = packet.stream.index
        if packet.dts is None or packet.stream.type == "subtitle":
            return
        if not packet.duration:
            packet.duration = max(1, packet.dts - self._last_dts.get(index, packet.dts))
        self._last_dts[index] = packet.dts

    def _inside(self, packet: Packet) -> bool:
        time = _time(packet)
        return (self._first is None or time >= self._first) and (self._last is None or time < self._last)

    def _prepared(self, packet: Packet) -> list[Packet]:
        """Return the packets to mux: shifted by the range and, for subtitles, converted."""
        index, base = packet.stream.index, packet.time_base
        if self._first:
            shift = round(self._first / base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        if index in self._converters:
            converted = self._converters[index].convert(packet)
            return [] if converted is None else [converted]
        packet.stream = self._targets[index]
        return [packet]

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
    """Return the time by which a packet is interleaved (its DTS, else PTS), in seconds."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * packet.time_base
