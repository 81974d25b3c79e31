"""YUV <-> RGB with the matrix and range the file is tagged with.

swscale converts 8-bit pixels (measured: within 0.51 levels of the exact formula). Beyond 8 bits it is
not used for the matrix: it maps white to 65280 instead of 65535 and writes super-white on the way back.
There swscale only resamples chroma, and the matrix is computed here, in float32, element by element, so
that the result is the same on every machine. Transfer curves and primaries are carried, never converted.

Chroma samples are read where the decoder says they lie, and written at the left of their pair of pixels:
what decoders of H.264, HEVC and AV1 assume. swscale's own default, the centre, would move colours by half
a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import VideoReformatter

# H.273 code points, as PyAV reports them.
RGB, BT709, UNSPECIFIED, SMPTE170M, BT2020_NCL = 0, 1, 2, 6, 9
LIMITED, FULL = 1, 2

# H.273 matrix: (kr, kb) of the luma equation, swscale's number of the same matrix.
MATRICES = {
    1: (0.2126, 0.0722, 1),
    4: (0.30, 0.11, 4),
    5: (0.299, 0.114, 5),
    6: (0.299, 0.114, 5),
    7: (0.212, 0.087, 7),
    9: (0.2627, 0.0593, 9),
}

# Frames are converted one by one, so their times mean nothing here.
_TICK = Fraction(1, 1000)

# Bicubic is the chroma filter; the rest makes swscale exact and independent of the CPU. These are the numbers
# of libswscale (swscale.h) because PyAV has names for all of them only from 18 on.
_BICUBIC, _ACCURATE_RND, _BITEXACT, _FULL_CHR_H_INT, _FULL_CHR_H_INP = 0x4, 0x40000, 0x80000, 0x2000, 0x4000
_SWS_FLAGS = _BICUBIC | _ACCURATE_RND | _BITEXACT | _FULL_CHR_H_INT | _FULL_CHR_H_INP


@dataclass(frozen=True)
class ColorTags:
    """H.273 code points; 2 is "unspecified" for all but the range, where it is 0 (1 limited, 2 full)."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0

    def resolved(self, height: int) -> ColorTags:
        """Fill in the matrix and range needed for a conversion.

        Unspecified matrix: BT.709 from 720 rows on, SMPTE 170M (BT.601) below; unspecified range:
        limited. The writer tags its output with this choice, because an upscaled file without a tag
        would be guessed differently from its source. RGB keeps matrix 0 and is full range.
        """
        if self.matrix == RGB:
            return replace(self, range=FULL)
        matrix = self.matrix
        if matrix in (UNSPECIFIED, 3):  # 3 is reserved: some encoders write it for "unknown"
            matrix = BT709 if height >= 720 else SMPTE170M
        return replace(self, matrix=matrix, range=self.range or LIMITED)

    def for_yuv(self) -> ColorTags:
        """The tags of YUV made from this source: BT.709 limited if it was RGB."""
        return replace(self, matrix=BT709, range=LIMITED) if self.matrix == RGB else self

    def for_rgb(self) -> ColorTags:
        """The tags of RGB made from this source."""
        return replace(self, matrix=RGB, range=FULL)


def bit_depth(pix_fmt: av.VideoFormat) -> int:
    """Bits of the deepest colour component (8 for palettes)."""
    if pix_fmt.has_palette or not pix_fmt.components:
        return 8
    return max(c.bits for c in pix_fmt.components)


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether a frame can be transparent: it has an alpha channel, or a palette with a transparent entry."""
    if frame.format.has_palette:
        return bool((np.frombuffer(memoryview(frame.planes[1]), np.uint32) >> 24 != 255).any())
    return holds_alpha(frame.format)


def holds_alpha(pix_fmt: av.VideoFormat) -> bool:
    """Whether the format has an alpha channel."""
    return any(c.is_alpha for c in pix_fmt.components)


def opaque(rgb: np.ndarray) -> np.ndarray:
    """The alpha (h, w) of an image without transparency."""
    return np.full(rgb.shape[:2], np.iinfo(rgb.dtype).max, rgb.dtype)


def is_rgb(pix_fmt: av.VideoFormat) -> bool:
    """RGB in any order or through a palette; gray counts as YUV without chroma."""
    return pix_fmt.is_rgb or pix_fmt.has_palette


class ColorConverter:
    """Converts frames of one video; keeps swscale's tables from frame to frame.

    tags: resolved (`ColorTags.resolved`); the matrix must be in MATRICES or RGB.
    chroma_unsited: the decoder does not say where chroma samples lie; they are taken to lie left.
    """

    def __init__(self, tags: ColorTags, *, chroma_unsited: bool = False) -> None:
        self.tags = tags
        self._chroma_unsited = chroma_unsited
        yuv = tags.for_yuv()
        self._kr, self._kb, self._sws_matrix = MATRICES[yuv.matrix]
        self._yuv_range = yuv.range
        self._reformatter = VideoReformatter()
        self._siting: tuple[tuple[str, int, int], Graph] | None = None

    def to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """(h, w, 3): uint8 for sources of up to 8 bits, else uint16 over the full 65535."""
        depth = bit_depth(frame.format)
        if self._chroma_unsited and not is_rgb(frame.format):
            frame = self._sited(frame)
        if depth <= 8:
            return self._reformat(frame, "rgb24", FULL).to_ndarray()
        # With the alpha that is there: where swscale drops it, colours beyond 8 bits change.
        planes = self._planar(frame, depth, alpha=holds_alpha(frame.format))
        if is_rgb(frame.format):
            return _rescale(np.stack(planes[:3], axis=-1)[..., [2, 0, 1]], depth, 16)
        return self._matrix_to_rgb(planes, depth)

    def to_alpha(self, frame: av.VideoFrame) -> np.ndarray:
        """(h, w) of the dtype of `to_rgb`, exact up to the depth; opaque where the format has no alpha."""
        depth, layout = bit_depth(frame.format), frame.format
        if not layout.has_palette and not holds_alpha(layout):
            return opaque(np.empty((frame.height, frame.width, 3), np.uint8 if depth <= 8 else np.uint16))
        alpha = self._planar(frame, depth, alpha=True)[3]
        return _rescale(alpha, depth, 8 if depth == 8 else 16).copy()  # a view would keep the whole frame

    def from_rgb(self, rgb: np.ndarray, pix_fmt: str, alpha: np.ndarray | None = None) -> av.VideoFrame:
        """Inverse of `to_rgb`: rgb (h, w, 3) uint8 or uint16 to any pixel format swscale knows.

        alpha: (h, w) of the same dtype, opaque if not given; dropped when the format has none.
        """
        target = av.VideoFormat(pix_fmt)
        given, depth = rgb.itemsize * 8, bit_depth(target)
        alphas = [] if alpha is None or not holds_alpha(target) else [_rescale(alpha, given, depth)]
        if is_rgb(target):
            red, green, blue = np.moveaxis(_rescale(rgb, given, depth), -1, 0)
            frame = _frame_of(_gbr_name(depth, alpha=bool(alphas)), [green, blue, red, *alphas])
            return self._reformat(frame, pix_fmt, FULL)
        if depth == given == 8 and not alphas:  # from RGB to YUV, swscale changes alpha by one level
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        else:
            planes = self._matrix_from_rgb(rgb, depth)
            frame = _frame_of(_yuv_name(depth, alpha=bool(alphas)), [*planes, *alphas])
        return self._reformat(self._sited(frame), pix_fmt, self._yuv_range)

    def _planar(self, frame: av.VideoFrame, depth: int, *, alpha: bool) -> list[np.ndarray]:
        """Planes of full size: G, B, R or Y, Cb, Cr, and alpha."""
        if is_rgb(frame.format):
            return _planes(self._reformat(frame, _gbr_name(depth, alpha=alpha), FULL))
        if len(frame.format.components) > 2:
            return _planes(self._reformat(frame, _yuv_name(depth, alpha=alpha), self._yuv_range))
        # Grey, which swscale would change a little on its way to YUV: a tint, and one level of alpha.
        luma = _planes(self._reformat(frame, "gray" if depth == 8 else f"gray{depth}le", self._yuv_range))[0]
        chroma = np.full_like(luma, 2 ** (depth - 1))
        alphas = _planes(self._reformat(frame, _gbr_name(depth, alpha=True), FULL))[3:] if alpha else []
        return [luma, chroma, chroma, *alphas]

    def _sited(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The same pixels, marked so that chroma lies left; PyAV can mark frames with a filter only."""
        key = (frame.format.name, frame.width, frame.height)
        if self._siting is None or self._siting[0] != key:
            graph = Graph()
            source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TICK)
            graph.link_nodes(source, graph.add("setparams", "chroma_location=left"), graph.add("buffersink"))
            graph.configure()
            self._siting = (key, graph)
        frame.pts, frame.time_base = 0, _TICK
        self._siting[1].push(frame)
        return self._siting[1].pull()  # type: ignore[return-value]

    def _reformat(self, frame: av.VideoFrame, pix_fmt: str, dst_range: int) -> av.VideoFrame:
        """Change layout and chroma resolution; change the matrix only between YUV and RGB."""
        # PyAV 17 has no number for the matrix of BT.2020 and goes by the tag of the frame, and it refuses frames
        # with reserved transfer curves or primaries. PyAV 18 needs none of this; the pixels are the same.
        frame.colorspace = self.tags.for_yuv().matrix
        frame.color_trc = frame.color_primaries = UNSPECIFIED
        return self._reformatter.reformat(
            frame,
            format=pix_fmt,
            src_colorspace=self._sws_matrix,
            dst_colorspace=self._sws_matrix,
            src_color_range=FULL if is_rgb(frame.format) else self._yuv_range,
            dst_color_range=dst_range,
            interpolation=_SWS_FLAGS,
            threads=1,
        )

    def _matrix_to_rgb(self, planes: list[np.ndarray], depth: int) -> np.ndarray:
        y_gain, y_zero, c_gain, c_zero = _levels(depth, self._yuv_range)
        y = (planes[0].astype(np.float32) - y_zero) / y_gain
        cb = (planes[1].astype(np.float32) - c_zero) / c_gain
        cr = (planes[2].astype(np.float32) - c_zero) / c_gain
        red = y + np.float32(2 * (1 - self._kr)) * cr
        blue = y + np.float32(2 * (1 - self._kb)) * cb
        kr, kb = np.float32(self._kr), np.float32(self._kb)
        green = (y - kr * red - kb * blue) / (1 - kr - kb)
        return _quantise(np.stack([red, green, blue], axis=-1) * np.float32(65535), 16)

    def _matrix_from_rgb(self, rgb: np.ndarray, depth: int) -> list[np.ndarray]:
        y_gain, y_zero, c_gain, c_zero = _levels(depth, self._yuv_range)
        red, green, blue = np.moveaxis(rgb.astype(np.float32) / np.iinfo(rgb.dtype).max, -1, 0)
        kr, kb = np.float32(self._kr), np.float32(self._kb)
        y = kr * red + (1 - kr - kb) * green + kb * blue
        cb = (blue - y) / (2 * (1 - kb))
        cr = (red - y) / (2 * (1 - kr))
        return [
            _quantise(y * y_gain + y_zero, depth),
            _quantise(cb * c_gain + c_zero, depth),
            _quantise(cr * c_gain + c_zero, depth),
        ]


def _levels(depth: int, color_range: int) -> tuple[np.float32, ...]:
    """(luma gain, luma zero, chroma gain, chroma zero) of H.273 for this depth and range."""
    step, peak = 2 ** (depth - 8), 2**depth - 1
    levels = (peak, 0, peak, 128 * step) if color_range == FULL else (219 * step, 16 * step, 224 * step, 128 * step)
    return tuple(np.float32(v) for v in levels)


def _quantise(values: np.ndarray, depth: int) -> np.ndarray:
    """Round to the nearest integer of `depth` bits, without dither."""
    return np.clip(np.rint(values), 0, 2**depth - 1).astype(np.uint8 if depth == 8 else np.uint16)


def _rescale(values: np.ndarray, depth: int, new_depth: int) -> np.ndarray:
    """Full range to full range, rounded to nearest; exact when the depth stays."""
    if depth == new_depth:
        return values
    peak, new_peak = 2**depth - 1, 2**new_depth - 1
    scaled = (values.astype(np.uint32) * new_peak + peak // 2) // peak
    return scaled.astype(np.uint8 if new_depth == 8 else np.uint16)


def _yuv_name(depth: int, *, alpha: bool) -> str:
    return ("yuva444p" if alpha else "yuv444p") + ("" if depth == 8 else f"{depth}le")


def _gbr_name(depth: int, *, alpha: bool) -> str:
    return ("gbrap" if alpha else "gbrp") + ("" if depth == 8 else f"{depth}le")


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views of the planes, each (h, w) without the padding of its lines."""
    dtype = np.dtype(np.uint8 if bit_depth(frame.format) == 8 else np.uint16)
    views = []
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        views.append(lines[:, : plane.width])
    return views


def _frame_of(pix_fmt: str, planes: list[np.ndarray]) -> av.VideoFrame:
    """A planar frame from (h, w) planes; the lines of a frame are padded, so they are copied one by one."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((height, plane.line_size // values.itemsize), values.dtype)
        padded[:, :width] = values
        plane.update(padded.tobytes())
    return frame
