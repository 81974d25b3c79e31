"""Convert between YUV and RGB with the matrix and range that the file is tagged with.

swscale converts 8-bit pixels (measured: within 0.51 levels of the exact formula). Beyond 8 bits swscale maps white to
65280 instead of 65535 and writes super-white on the way back. There it only resamples chroma, and this module applies
the matrix in float32, element by element, so that the result is the same on every machine. Transfer curves and
primaries are carried, never converted.

Chroma is read at the location that the decoder reports and written left-sited, which decoders of H.264, HEVC and AV1
assume. swscale's default, centre, would shift colours by half a pixel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import VideoReformatter

from patchvsr.pixels.compare import cell_means, thumbnail
from patchvsr.pixels.size import Size

# H.273 code points, as PyAV reports them.
RGB, BT709, UNSPECIFIED, SMPTE170M, BT2020_NCL = 0, 1, 2, 6, 9
LIMITED, FULL = 1, 2
MADE_DEPTHS = (8, 9, 10, 12, 14, 16)  # of which FFmpeg has planar YUV and RGB

# H.273 matrix: (kr, kb, swscale's number of the same matrix).
MATRICES = {
    1: (0.2126, 0.0722, 1),
    4: (0.30, 0.11, 4),
    5: (0.299, 0.114, 5),
    6: (0.299, 0.114, 5),
    7: (0.212, 0.087, 7),
    9: (0.2627, 0.0593, 9),
}

_PLANAR_YUV = re.compile(r"yuvj?a?4\d\dp")

# Frames are converted one by one, so their times are irrelevant here.
_TICK = Fraction(1, 1000)

# Bicubic is the chroma filter; the other flags make swscale exact and independent of the CPU. The numbers are those of
# swscale.h, because PyAV names all of them only from 18 on.
_BICUBIC, _ACCURATE_RND, _BITEXACT, _FULL_CHR_H_INT, _FULL_CHR_H_INP = 0x4, 0x40000, 0x80000, 0x2000, 0x4000
_SWS_FLAGS = _BICUBIC | _ACCURATE_RND | _BITEXACT | _FULL_CHR_H_INT | _FULL_CHR_H_INP


@dataclass(frozen=True)
class ColorTags:
    """H.273 code points, where 2 is "unspecified". `range` is 0 unspecified, 1 limited, 2 full."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0

    def resolved(self, height: int) -> ColorTags:
        """Return tags with the matrix and range that a conversion needs, for frames of `height` pixels.

        An unspecified matrix becomes BT.709 from 720 rows on and SMPTE 170M (BT.601) below; an unspecified range
        becomes limited. The output is tagged with this choice, because players would guess differently for an untagged
        upscaled file than for its source. RGB keeps matrix 0 and is full range.
        """
        if self.matrix == RGB:
            return replace(self, range=FULL)
        matrix = self.matrix
        if matrix in (UNSPECIFIED, 3):  # 3 is reserved, but some encoders write it for "unknown"
            matrix = BT709 if height >= 720 else SMPTE170M
        return replace(self, matrix=matrix, range=self.range or LIMITED)

    def for_yuv(self) -> ColorTags:
        """Return the tags of YUV converted from this source: BT.709, limited range, if it was RGB."""
        return replace(self, matrix=BT709, range=LIMITED) if self.matrix == RGB else self

    def for_rgb(self) -> ColorTags:
        """Return the tags of RGB converted from this source."""
        return replace(self, matrix=RGB, range=FULL)


def bit_depth(pix_fmt: av.VideoFormat) -> int:
    """Return the bits of the deepest colour component (8 for palettes)."""
    if pix_fmt.has_palette or not pix_fmt.components:
        return 8
    return max(c.bits for c in pix_fmt.components)


def has_alpha(frame: av.VideoFrame) -> bool:
    """Return whether a frame has an alpha channel or a palette with a transparent entry."""
    if frame.format.has_palette:
        return bool((np.frombuffer(memoryview(frame.planes[1]), np.uint32) >> 24 != 255).any())
    return holds_alpha(frame.format)


def holds_alpha(pix_fmt: av.VideoFormat) -> bool:
    """Return whether the format has an alpha channel."""
    return any(c.is_alpha for c in pix_fmt.components)


def opaque(rgb: np.ndarray) -> np.ndarray:
    """Return a fully opaque alpha plane (h, w) for an image (h, w, 3)."""
    return np.full(rgb.shape[:2], np.iinfo(rgb.dtype).max, rgb.dtype)


def is_rgb(pix_fmt: av.VideoFormat) -> bool:
    """Return whether the format is RGB in any order or a palette. Grey counts as YUV without chroma."""
    return pix_fmt.is_rgb or pix_fmt.has_palette


def can_make(pix_fmt: av.VideoFormat) -> bool:
    """Return whether `ColorConverter.from_rgb` can make this format: 8 to 16 bits a component, and no palette."""
    return bit_depth(pix_fmt) in MADE_DEPTHS and not pix_fmt.has_palette


class ColorConverter:
    """Convert the frames of one video; swscale's tables are reused from frame to frame.

    tags: resolved tags (`ColorTags.resolved`) whose matrix is in MATRICES or RGB.
    chroma_unsited: whether the decoder reports no chroma location; left is assumed then.
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
        """Return RGB (h, w, 3): uint8 for sources of up to 8 bits, else uint16 in [0, 65535]."""
        depth = bit_depth(frame.format)
        if self._chroma_unsited and not is_rgb(frame.format):
            frame = self._sited(frame)
        if depth <= 8:
            return self._reformat(frame, "rgb24", FULL).to_ndarray()
        # Keep an existing alpha plane: beyond 8 bits, swscale changes colours when it drops one.
        planes = self._planar(frame, depth, alpha=holds_alpha(frame.format))
        if is_rgb(frame.format):
            return _rescale(np.stack(planes[:3], axis=-1)[..., [2, 0, 1]], depth, 16)
        return self._matrix_to_rgb(planes, depth)

    def to_cells(self, frame: av.VideoFrame, grid: Size) -> np.ndarray:
        """Return the mean RGB of every cell of a grid, as `thumbnail` does, without converting every pixel of YUV."""
        if not _PLANAR_YUV.match(frame.format.name):
            return thumbnail(self.to_rgb(frame), grid)
        # The matrix is linear, so it commutes with the mean unless colours are clipped.
        depth = bit_depth(frame.format)
        fine = 256 if depth == 8 else 1  # means come out as integers
        planes = (plane * np.uint16(fine) if fine > 1 else plane for plane in _planes(frame)[:3])
        means = [cell_means(plane, grid) / np.float32(fine) for plane in planes]
        if frame.format.components[1].width < frame.width:  # left-sited chroma lies half a pixel of luma to the left
            part = np.float32(0.5 * grid.width / frame.width)
            for chroma in means[1:]:
                chroma[:, :-1] += part * (chroma[:, 1:] - chroma[:, :-1])
        return self._rgb_of(means, depth) * np.float32(255)

    def to_alpha(self, frame: av.VideoFrame) -> np.ndarray:
        """Return alpha (h, w) in the dtype of `to_rgb`, exact at the source depth; opaque if the format has none."""
        depth, layout = bit_depth(frame.format), frame.format
        if not layout.has_palette and not holds_alpha(layout):
            return opaque(np.empty((frame.height, frame.width, 3), np.uint8 if depth <= 8 else np.uint16))
        alpha = self._planar(frame, depth, alpha=True)[3]
        return _rescale(alpha, depth, 8 if depth == 8 else 16).copy()  # a view would keep the whole frame alive

    def from_rgb(self, rgb: np.ndarray, pix_fmt: str, alpha: np.ndarray | None = None) -> av.VideoFrame:
        """Return a frame in any pixel format of swscale from `rgb` (h, w, 3), uint8 or uint16; inverse of `to_rgb`.

        alpha: (h, w) of the same dtype, default opaque; dropped if the format has none.
        """
        target = av.VideoFormat(pix_fmt)
        given, depth = rgb.itemsize * 8, bit_depth(target)
        alphas = [] if alpha is None or not holds_alpha(target) else [_rescale(alpha, given, depth)]
        if is_rgb(target):
            red, green, blue = np.moveaxis(_rescale(rgb, given, depth), -1, 0)
            frame = _frame_of(_gbr_name(depth, alpha=bool(alphas)), [green, blue, red, *alphas])
            return self._reformat(frame, pix_fmt, FULL)
        if depth == given == 8 and not alphas:  # with alpha, swscale is off by one level from RGB to YUV
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        else:
            planes = self._matrix_from_rgb(rgb, depth)
            frame = _frame_of(_yuv_name(depth, alpha=bool(alphas)), [*planes, *alphas])
        return self._reformat(self._sited(frame), pix_fmt, self._yuv_range)

    def _planar(self, frame: av.VideoFrame, depth: int, *, alpha: bool) -> list[np.ndarray]:
        """Return planes at full resolution: G, B, R or Y, Cb, Cr, then alpha if wanted."""
        if is_rgb(frame.format):
            return _planes(self._reformat(frame, _gbr_name(depth, alpha=alpha), FULL))
        if len(frame.format.components) > 2:
            return _planes(self._reformat(frame, _yuv_name(depth, alpha=alpha), self._yuv_range))
        # Grey: converted to YUV by swscale it would get a slight tint and lose one level of alpha.
        luma = _planes(self._reformat(frame, "gray" if depth == 8 else f"gray{depth}le", self._yuv_range))[0]
        chroma = np.full_like(luma, 2 ** (depth - 1))
        alphas = _planes(self._reformat(frame, _gbr_name(depth, alpha=True), FULL))[3:] if alpha else []
        return [luma, chroma, chroma, *alphas]

    def _sited(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame tagged with left-sited chroma; PyAV can set that only through a filter."""
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
        """Convert layout and chroma subsampling; the matrix is applied only between YUV and RGB."""
        # PyAV 17 cannot name the BT.2020 matrix, so it reads the frame's tag, and it refuses frames with reserved
        # transfer curves or primaries. PyAV 18 needs none of this; the pixels are the same.
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
        return _quantise(self._rgb_of(planes, depth) * np.float32(65535), 16)

    def _rgb_of(self, planes: list[np.ndarray], depth: int) -> np.ndarray:
        """Return float32 RGB in about [0, 1] of Y, Cb and Cr."""
        y_gain, y_zero, c_gain, c_zero = _levels(depth, self._yuv_range)
        y = (planes[0].astype(np.float32) - y_zero) / y_gain
        cb = (planes[1].astype(np.float32) - c_zero) / c_gain
        cr = (planes[2].astype(np.float32) - c_zero) / c_gain
        red = y + np.float32(2 * (1 - self._kr)) * cr
        blue = y + np.float32(2 * (1 - self._kb)) * cb
        kr, kb = np.float32(self._kr), np.float32(self._kb)
        green = (y - kr * red - kb * blue) / (1 - kr - kb)
        return np.stack([red, green, blue], axis=-1)

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
    """Return (luma gain, luma zero, chroma gain, chroma zero) of H.273 for a depth and range."""
    step, peak = 2 ** (depth - 8), 2**depth - 1
    levels = (peak, 0, peak, 128 * step) if color_range == FULL else (219 * step, 16 * step, 224 * step, 128 * step)
    return tuple(np.float32(v) for v in levels)


def _quantise(values: np.ndarray, depth: int) -> np.ndarray:
    """Round to the nearest integer of `depth` bits, without dither."""
    return np.clip(np.rint(values), 0, 2**depth - 1).astype(np.uint8 if depth == 8 else np.uint16)


def _rescale(values: np.ndarray, depth: int, new_depth: int) -> np.ndarray:
    """Rescale full-range values to another depth, rounded to nearest; unchanged if the depths are equal."""
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
    """Return views of the planes, each (h, w) without line padding."""
    dtype = np.dtype(np.uint8 if bit_depth(frame.format) == 8 else np.uint16)
    views = []
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        views.append(lines[:, : plane.width])
    return views


def _frame_of(pix_fmt: str, planes: list[np.ndarray]) -> av.VideoFrame:
    """Return a planar frame from (h, w) planes, copied into its padded lines."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((height, plane.line_size // values.itemsize), values.dtype)
        padded[:, :width] = values
        plane.update(padded.tobytes())
    return frame
