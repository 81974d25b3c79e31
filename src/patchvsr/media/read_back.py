"""Decode frames as soon as they are encoded, to compare them with what went in."""

from __future__ import annotations

import av
import numpy as np

from patchvsr.media.color import ColorConverter, ColorTags
from patchvsr.media.segment import EncodedFrame, FrameDecoder
from patchvsr.pixels.size import Size

# Decoders in the order of preference. FFmpeg's own one for AV1 needs a GPU.
_DECODERS = {"av1": ("libdav1d", "libaom-av1"), "libaom-av1": ("libdav1d", "libaom-av1")}
# Their decoders open, but need parameters that only a container carries.
_NEED_CONTAINER = ("qtrle", "rawvideo")


def packet_decoder(encoder: av.VideoCodecContext, color: ColorTags, *, is_coarse: bool) -> PacketDecoder | None:
    """Return a decoder for the packets of an open encoder, or None if FFmpeg has none that works without a container.

    color: the tags of the encoded frames. is_coarse: see `FrameDecoder`.
    """
    name = encoder.codec.canonical_name
    if name in _NEED_CONTAINER:
        return None
    for candidate in _DECODERS.get(name, (name,)):
        try:
            context = av.CodecContext.create(candidate, "r")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height = encoder.width, encoder.height
            context.extradata = encoder.extradata
            context.thread_count = 1  # more threads would hold more frames
            context.open()
        except (ValueError, av.FFmpegError):  # unknown, or it needs the tag of a container
            continue
        return PacketDecoder(context, color, is_coarse=is_coarse)
    return None


class PacketDecoder(FrameDecoder):
    """Decode the packets of one encoder."""

    def __init__(self, context: av.CodecContext, color: ColorTags, *, is_coarse: bool = False) -> None:
        assert isinstance(context, av.VideoCodecContext)
        self._context, self.is_coarse = context, is_coarse
        self._converter = ColorConverter(color, chroma_unsited=True)  # it is written left-sited

    def decode(self, encoded: EncodedFrame, grid: Size) -> list[np.ndarray]:
        packet = av.Packet(encoded.data)
        packet.pts, packet.is_keyframe = encoded.order, encoded.is_keyframe
        return self._thumbnails(packet, grid)

    def finish(self, grid: Size) -> list[np.ndarray]:
        return self._thumbnails(None, grid)

    def _thumbnails(self, packet: av.Packet | None, grid: Size) -> list[np.ndarray]:
        return [self._converter.to_cells(frame, grid) for frame in self._context.decode(packet)]
