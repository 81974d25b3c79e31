"""Compression as a degradation: encode and decode in memory, keeping the frame size and count.

Single-threaded, so that equal frames give equal bytes. Colours go through `ColorConverter`, which reads chroma at the
location where it was written, so that it does not shift.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from patchvsr.errors import SettingsError
from patchvsr.media.color import ColorConverter, ColorTags

_RATE = 25  # nominal: only the bits per frame matter


@dataclass(frozen=True)
class _Codec:
    """The settings of a codec. x264's macroblock tree is off because its bytes vary from run to run.

    Without a rate-control buffer, MPEG-4 finds the right quantiser only after dozens of frames. x264 and x265 need
    none, and return grey frames when the buffer of a small picture is full.
    """

    encoder: str
    decoder: str
    options: dict[str, str]
    min_side_px: int = 16
    needs_buffer: bool = False


_CODECS = {
    "h264": _Codec("libx264", "h264", {"preset": "veryfast", "x264-params": "no-mbtree=1"}),
    "mpeg4": _Codec("mpeg4", "mpeg4", {}, needs_buffer=True),
    "hevc": _Codec(
        "libx265",
        "hevc",
        {"preset": "ultrafast", "x265-params": "info=0:log-level=error:wpp=0:pools=none:frame-threads=1"},
        min_side_px=64,  # x265 overruns its memory below this size
    ),
}


def parse_codecs(text: str) -> list[str]:
    """Return the codecs of a comma-separated list; raise SettingsError if one is unknown."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in _CODECS:
            raise SettingsError(
                f"codecs {text!r}: {name!r} is not known; use {', '.join(_CODECS)}, with commas between"
            )
    return names


def jpeg_pass(frames: np.ndarray, qualities: Sequence[int]) -> np.ndarray:
    """Return frames (F, H, W, 3) uint8 after JPEG compression.

    qualities: one per frame, 1 to 95 on libjpeg's scale, where 100 is the finest.
    """
    decoded = np.empty_like(frames)
    for index, quality in enumerate(qualities):
        with io.BytesIO() as file:
            Image.fromarray(frames[index]).save(file, "jpeg", quality=quality)
            decoded[index] = Image.open(file)
    return decoded


def codec_pass(frames: np.ndarray, codec: str, bits_per_pixel: float) -> np.ndarray:
    """Return frames (F, H, W, 3) uint8 after 4:2:0 video compression at a constant bit rate, in bits per pixel.

    Short clips meet the rate approximately as well; easy clips need less.
    """
    height, width = frames.shape[1:3]
    settings = _CODECS[codec]
    padding = [max(side + side % 2, settings.min_side_px) - side for side in (height, width)]
    padded = np.pad(frames, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)), mode="edge")
    converter = ColorConverter(ColorTags().resolved(height), chroma_unsited=True)
    packets = _encode(settings, [converter.from_rgb(frame, "yuv420p") for frame in padded], bits_per_pixel)
    decoded = _decode(settings, packets)
    if len(decoded) != len(frames):
        raise RuntimeError(f"{codec} returned {len(decoded)} frames of {len(frames)}")
    return np.stack([converter.to_rgb(frame)[:height, :width] for frame in decoded])


def _encode(codec: _Codec, pictures: list[av.VideoFrame], bits_per_pixel: float) -> list[av.Packet]:
    encoder = cast(VideoCodecContext, av.CodecContext.create(codec.encoder, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, _RATE), Fraction(_RATE)
    encoder.thread_count = 1
    bit_rate = round(bits_per_pixel * encoder.width * encoder.height * _RATE)
    encoder.bit_rate = max(bit_rate, 1000)
    buffer = {"maxrate": str(encoder.bit_rate), "bufsize": str(encoder.bit_rate // 8)} if codec.needs_buffer else {}
    encoder.options = codec.options | buffer
    packets = []
    for index, picture in enumerate(pictures):
        picture.pts, picture.time_base = index, encoder.time_base
        packets += encoder.encode(picture)
    return packets + encoder.encode(None)


def _decode(codec: _Codec, packets: list[av.Packet]) -> list[av.VideoFrame]:
    decoder = cast(VideoCodecContext, av.CodecContext.create(codec.decoder, "r"))
    decoder.thread_count = 1
    return [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
