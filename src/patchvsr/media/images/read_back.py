"""Decode images as soon as they are encoded, to compare them with what went in."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import av
import numpy as np

from patchvsr.media.color import FULL, RGB, ColorTags
from patchvsr.media.frames import Frame
from patchvsr.media.images.exr import require_openexr
from patchvsr.media.images.transfer import linear_of_codes
from patchvsr.media.info import VideoInfo
from patchvsr.media.read_back import PacketDecoder
from patchvsr.media.segment import EncodedFrame, FrameDecoder
from patchvsr.pixels.compare import thumbnail
from patchvsr.pixels.size import Size


def image_decoder(suffix: str, source: VideoInfo) -> FrameDecoder:
    """Return a decoder for images of a format, encoded from frames of `source`."""
    if suffix.lower() == ".exr":
        return ExrDecoder(source)
    return PacketDecoder(av.CodecContext.create("png", "r"), ColorTags(matrix=RGB, range=FULL))


class ExrDecoder(FrameDecoder):
    """Decode to the curve of `source`, multiplied by alpha in linear light."""

    def __init__(self, source: VideoInfo) -> None:
        self._is_rgb, self._transfer = source.color.matrix == RGB, source.color.transfer
        self._premultiplied = source.codec == "exr"

    def decode(self, encoded: EncodedFrame, grid: Size) -> list[np.ndarray]:
        channels = require_openexr().File(BytesIO(encoded.data), separate_channels=True).parts[0].channels
        codes = _codes_of_halfs(self._transfer, is_rgb=self._is_rgb)
        planes = [codes[np.ascontiguousarray(channels[name].pixels).view(np.uint16)] for name in "RGB"]
        return [thumbnail(np.stack(planes, -1), grid)]

    def finish(self, grid: Size) -> list[np.ndarray]:
        return []

    def expected(self, frame: Frame) -> np.ndarray:
        if frame.alpha is None or self._premultiplied:
            return frame.rgb
        light = linear_of_codes(self._transfer, is_rgb=self._is_rgb, bits=frame.rgb.itemsize * 8)[frame.rgb]
        coverage = frame.alpha / np.float64(np.iinfo(frame.alpha.dtype).max)
        codes = _codes_of_halfs(self._transfer, is_rgb=self._is_rgb)
        return codes[(light * coverage[..., None]).astype(np.float16).view(np.uint16)]


@lru_cache(maxsize=4)
def _codes_of_halfs(transfer: int, *, is_rgb: bool) -> np.ndarray:
    """Return the code value in [0, 1] of the linear light in every half, indexed by its bits."""
    light = np.nan_to_num(np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64))
    codes = np.linspace(0, 1, 65536)
    return np.interp(light, linear_of_codes(transfer, is_rgb=is_rgb, bits=16), codes).astype(np.float32)
