"""Find out what a container can hold, by muxing a trial file in memory."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from patchvsr.media.hdr import HdrMetadata
from patchvsr.media.hdr_header import CODECS, stream_with

MP4_FAMILY = ("mp4", "mov", "ipod", "3gp", "3g2")

# Dispositions that survive a round trip; MP4 keeps them all.
_MATROSKA_MARKS = (
    Disposition.default | Disposition.forced | Disposition.original | Disposition.comment | Disposition.descriptions
    | Disposition.hearing_impaired | Disposition.visual_impaired
)  # fmt: skip
_MARKS = {
    "matroska": _MATROSKA_MARKS,
    "webm": _MATROSKA_MARKS,
    "mov": Disposition.default,
    "ipod": Disposition.default,
}


def fits(stream: Stream, container: str, *, tagged: bool = False) -> bool:
    """Return whether the packets of `stream` can be copied into a container of that format.

    tagged: whether its codec tag (FourCC) must be kept as well.
    """
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            target = trial.add_stream_from_template(stream, opaque=True)
            if tagged:
                target.codec_context.codec_tag = stream.codec_context.codec_tag
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream for copies of the packets of `stream`; raise ValueError if it does not fit.

    Unlike PyAV, keep the codec tag (FourCC) of a video where the container allows it. Without it, ProRes 4444 is
    labelled 422 HQ, and Apple's players refuse HEVC.
    """
    name = output.format.name
    if not fits(stream, name):
        raise ValueError(f"{name} cannot hold {stream}")
    target = output.add_stream_from_template(stream, opaque=True)
    if stream.type == "video" and fits(stream, name, tagged=True):
        target.codec_context.codec_tag = stream.codec_context.codec_tag
    if isinstance(target, AudioStream):
        _name_channels(target, name)
    return target


def _name_channels(target: AudioStream, container: str) -> None:
    """Name the channels of PCM audio for MP4, whose muxer needs a layout but complains only when it writes the trailer.

    Matroska and AVI store only the number of PCM channels. Raises ValueError for more than two unnamed channels.
    """
    context = target.codec_context
    unnamed = "channels" in context.layout.name
    if container == "mp4" and unnamed and context.codec.canonical_name.startswith("pcm_"):
        if context.layout.nb_channels > 2:
            raise ValueError(f"{container} needs names for the {context.layout.nb_channels} channels of {target}")
        context.layout = "mono" if context.layout.nb_channels == 1 else "stereo"


def add_video_copy(output: OutputContainer, stream: VideoStream, hdr: HdrMetadata | None = None) -> VideoStream:
    """Add a copy of a video stream, with HDR metadata in the container if the bit stream cannot carry it.

    The result has neither a frame rate nor a rotation: set them before the header is written.
    """
    source = stream.codec_context
    codec = source.codec.canonical_name
    if hdr is None or codec not in CODECS:
        return add_copy(output, stream)  # type: ignore[return-value]
    with stream_with(hdr, codec) as template:
        target = output.add_stream_from_template(template, opaque=True)
    context = target.codec_context
    context.width, context.height, context.pix_fmt = source.width, source.height, source.pix_fmt
    context.extradata = source.extradata
    context.sample_aspect_ratio = stream.sample_aspect_ratio or source.sample_aspect_ratio or Fraction(0, 1)
    context.color_primaries, context.color_trc = source.color_primaries, source.color_trc
    context.colorspace, context.color_range = source.colorspace, source.color_range
    target.time_base = stream.time_base
    if codec == "prores":
        context.codec_tag = source.codec_tag
    return target


def kept_tags(container: str, tags: dict[str, str], *, of_stream: bool = False) -> dict[str, str]:
    """Return the tags of a file, or of a stream, that survive a round trip through a container of that format."""
    if container not in MP4_FAMILY:  # Matroska keeps any tag
        return tags
    file = BytesIO()
    with av.open(file, "w", format=container) as trial:
        stream = trial.add_mux_stream("mov_text", time_base=Fraction(1, 1000))
        (stream if of_stream else trial).metadata.update(tags)
        packet = Packet(b"\0\0")  # streams without packets are not written
        packet.pts = packet.dts = 0
        packet.duration, packet.time_base, packet.stream = 1, Fraction(1, 1000), stream
        trial.mux(packet)
    file.seek(0)
    with av.open(file) as written:
        return dict((written.streams[0] if of_stream else written).metadata)


def lost_disposition(disposition: Disposition, container: str) -> Disposition:
    """Return the disposition flags (forced, comment, ...) that a container of that format cannot store."""
    return disposition & ~_MARKS.get(container, disposition)
