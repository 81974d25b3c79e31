"""Put HDR metadata into a container header, for codecs whose bit streams cannot carry it.

PyAV cannot set it on a stream, but a stream made from a template inherits it. So this module writes a minimal Matroska
file with the metadata (RFC 9559, element "Colour") and opens it as the template.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import av
from av.video.stream import VideoStream

from patchvsr.media.hdr import HdrMetadata

# FFmpeg codec name: (Matroska codec ID, the codec private data that the demuxer insists on).
CODECS = {"ffv1": ("V_FFV1", b""), "prores": ("V_PRORES", b"apch"), "vp9": ("V_VP9", b"")}


@contextmanager
def stream_with(hdr: HdrMetadata, codec: str) -> Iterator[VideoStream]:
    """Open a template stream of a container that holds `hdr`; `codec` is a key of CODECS."""
    name, private = CODECS[codec]
    video = _number(0xB0, 16) + _number(0xBA, 16) + _element(0x55B0, _colour(hdr))
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, name.encode())
    track += _element(0x63A2, private) * bool(private) + _element(0xE0, video)
    frame = _number(0xE7, 0) + _element(0xA3, bytes([0x81, 0, 0, 0x80, 0]))
    segment = _element(0x1549A966, _number(0x2AD7B1, 1_000_000))
    segment += _element(0x1654AE6B, _element(0xAE, track)) + _element(0x1F43B675, frame)
    head = _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2)
    with av.open(BytesIO(_element(0x1A45DFA3, head) + _element(0x18538067, segment)), format="matroska") as container:
        yield container.streams.video[0]


def _colour(hdr: HdrMetadata) -> bytes:
    display = b""
    if hdr.primaries and hdr.white_point:
        values = [value for point in (*hdr.primaries, hdr.white_point) for value in point]
        display += b"".join(_decimal(0x55D1 + place, float(value)) for place, value in enumerate(values))
    if hdr.max_luminance is not None:
        display += _decimal(0x55D9, float(hdr.max_luminance)) + _decimal(0x55DA, float(hdr.min_luminance or 0))
    levels = _number(0x55BC, hdr.max_cll or 0) + _number(0x55BD, hdr.max_fall or 0)
    return levels + _element(0x55D0, display)


def _element(identifier: int, payload: bytes) -> bytes:
    name = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    return name + struct.pack(">Q", len(payload) | 1 << 56) + payload


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(8, "big"))


def _decimal(identifier: int, value: float) -> bytes:
    return _element(identifier, struct.pack(">d", value))
