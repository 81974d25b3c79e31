"""Static HDR metadata: the mastering display and the light levels of the content.

The transfer curve (PQ, HLG) and the primaries are colour tags (`color.py`). This is the rest of HDR10: SMPTE ST 2086
and CTA-861.3. HEVC, AVC and AV1 carry it in their bit streams; for other codecs it belongs in the container header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

import av

Point = tuple[Fraction, Fraction]

# Units per 1.0 in the bit streams of HEVC and AVC.
_CHROMATICITY, _LUMINANCE = 50000, 10000

# Frame side data that describes the source pixels only, or that no encoder here can write.
_LOST = {
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment",
    "A53_CC": "closed captions (CEA-608/708)",
    "STEREO3D": "the layout of stereo 3D",
    "SPHERICAL": "the projection of spherical video",
    "ICC_PROFILE": "the ICC profile",
    "AFD": "the active format description",
}

_MASTER_DISPLAY = "G({})B({})R({})WP({})L({})"

# encoder: (option, display key, light level key, units of chromaticity and of luminance; 0 writes decimals)
_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll", _CHROMATICITY, _LUMINANCE),
    "libx265": ("x265-params", "master-display", "max-cll", _CHROMATICITY, _LUMINANCE),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", 0, 0),
}

# Encoders that write HDR metadata into their bit streams.
HDR_ENCODERS = tuple(_OPTIONS)


@dataclass(frozen=True)
class HdrMetadata:
    """Static HDR metadata; None for values that the source lacks.

    primaries, white_point: CIE 1931 (x, y) of red, green and blue, and of white.
    min_luminance, max_luminance: of the mastering display, in cd/m2.
    max_cll, max_fall: maximum content light level and frame-average light level, in cd/m2.
    """

    primaries: tuple[Point, Point, Point] | None = None
    white_point: Point | None = None
    min_luminance: Fraction | None = None
    max_luminance: Fraction | None = None
    max_cll: int | None = None
    max_fall: int | None = None


def read_hdr(frame: av.VideoFrame) -> HdrMetadata | None:
    """Return the static HDR metadata of a decoded frame, from the bit stream or the container."""
    data = _side_data(frame)
    display = _mastering_display(data.get("MASTERING_DISPLAY_METADATA", b""))
    light = data.get("CONTENT_LIGHT_LEVEL", b"")
    levels = dict(zip(("max_cll", "max_fall"), struct.unpack("=2I", light[:8]), strict=True)) if light else {}
    if not display and not any(levels.values()):
        return None
    return HdrMetadata(**display, **levels)


def lost_side_data(frame: av.VideoFrame) -> tuple[str, ...]:
    """Return readable names of the side data that cannot be carried to an upscaled frame."""
    return tuple(dict.fromkeys(_LOST[name] for name in _side_data(frame) if name in _LOST))


def hdr_options(encoder: str, hdr: HdrMetadata | None) -> dict[str, str]:
    """Return the options that make an encoder write the metadata into its bit stream; empty if it cannot."""
    if hdr is None or encoder not in _OPTIONS:
        return {}
    key, display_name, light_name, chromaticity, luminance = _OPTIONS[encoder]
    parts = []
    if hdr.primaries and hdr.white_point and hdr.max_luminance is not None:
        red, green, blue = hdr.primaries
        points = [",".join(_scaled(v, chromaticity) for v in p) for p in (green, blue, red, hdr.white_point)]
        limits = ",".join(_scaled(v, luminance) for v in (hdr.max_luminance, hdr.min_luminance or Fraction(0)))
        parts.append(f"{display_name}={_MASTER_DISPLAY.format(*points, limits)}")
    if hdr.max_cll or hdr.max_fall:
        parts.append(f"{light_name}={hdr.max_cll or 0},{hdr.max_fall or 0}")
    return {key: ":".join(parts)} if parts else {}


def _side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    try:
        return {data.type.name: bytes(data) for data in frame.side_data}  # type: ignore[attr-defined, arg-type]
    except ValueError:  # a type that this PyAV cannot name
        return {}


def _mastering_display(data: bytes) -> dict:
    """Parse FFmpeg's AVMasteringDisplayMetadata: ten rationals (red, green, blue, white, min, max), two flags."""
    if len(data) < 88:
        return {}
    *numbers, has_primaries, has_luminance = struct.unpack("=22i", data[:88])
    values = [Fraction(n, d or 1) for n, d in zip(numbers[::2], numbers[1::2], strict=True)]
    points = list(zip(values[:8:2], values[1:8:2], strict=True))
    found: dict = {}
    if has_primaries:
        found |= {"primaries": tuple(points[:3]), "white_point": points[3]}
    if has_luminance:
        found |= {"min_luminance": values[8], "max_luminance": values[9]}
    return found


def _scaled(value: Fraction, unit: int) -> str:
    return str(round(value * unit)) if unit else f"{float(value):.6f}"
