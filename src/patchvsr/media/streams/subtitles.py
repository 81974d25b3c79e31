"""Convert text subtitles between formats with FFmpeg's decoders and encoders."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

# The formats with a text decoder. Bitmap subtitles (DVD, Blu-ray, DVB) cannot become text.
TEXT_CODECS = ("subrip", "ass", "ssa", "webvtt", "mov_text", "text")

# Target formats; the first that the container holds is used: Matroska, MP4 and MOV, WebM.
_TARGETS = ("subrip", "mov_text", "webvtt")

# No text subtitle format has a finer resolution.
_TICK = Fraction(1, 1000)


class SubtitleConverter:
    """Add a subtitle stream to an output and convert packets of `source` for it.

    Text, line breaks, bold, italic and underline are kept; fonts, positions and effects are not.
    Raises ValueError if `source` is not text or the container holds no text subtitles.
    """

    def __init__(self, source: SubtitleStream, output: OutputContainer) -> None:
        self._decoder = _context(source)
        if self._decoder.codec.canonical_name not in TEXT_CODECS:
            raise ValueError(f"{self._decoder.name} subtitles are not text")
        self._decoder.open(strict=False)  # creates the subtitle header
        self.target = _add_stream(output)
        self._encoder = _context(self.target)
        self._encoder.time_base = self.target.time_base = _TICK
        self._encoder.subtitle_header = self._decoder.subtitle_header

    @property
    def codec(self) -> str:
        """The name of the target format."""
        return self._encoder.codec.canonical_name

    def convert(self, packet: Packet) -> Packet | None:
        """Return the converted packet with the same time and duration, or None if it has no text (a gap)."""
        decoded = self._decoder.decode2(packet)
        lines = [rect.ass for rect in decoded or () if isinstance(rect, AssSubtitle)]
        if not lines or packet.pts is None:
            return None
        # "order,layer,style,name,left,right,vertical,effect,text": several events become lines of one
        event = b"\\N".join([lines[0], *(line.split(b",", 8)[-1] for line in lines[1:])])
        duration = round((packet.duration or 0) * packet.time_base / _TICK)
        encoded = self._encoder.encode_subtitle(SubtitleSet.create(event, 0, duration))
        encoded.pts = encoded.dts = round(packet.pts * packet.time_base / _TICK)
        encoded.duration, encoded.time_base, encoded.stream = duration, _TICK, self.target
        return encoded


def is_pause(packet: Packet) -> bool:
    """Return whether a packet is an empty one, with which MP4 fills the gap between two subtitles."""
    context = packet.stream.codec_context
    return context is not None and context.codec.canonical_name == "mov_text" and bytes(packet)[:2] == b"\0\0"


def _context(stream: SubtitleStream) -> SubtitleCodecContext:
    context = stream.codec_context
    if not isinstance(context, SubtitleCodecContext):
        raise ValueError("no decoder for these subtitles")
    return context


def _add_stream(output: OutputContainer) -> SubtitleStream:
    for codec in _TARGETS:
        try:
            return cast(SubtitleStream, output.add_stream(codec))
        except ValueError:
            continue
    raise ValueError(f"{output.format.name} holds no text subtitles")
