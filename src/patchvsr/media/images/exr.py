"""Read and write OpenEXR images: linear light, half or float, where 1.0 is diffuse white, with premultiplied alpha.

The pipeline works on 16-bit codes of a display curve, so light in [0, 100] is carried as PQ (SMPTE ST 2084) with 1.0 at
100 cd/m2. Measured over all half values of that range, 16-bit PQ returns the same half above 2^-10, and below it the
same or its neighbour (an error of at most 5e-7). Alpha is carried in 65535 equal steps: the same half from 1/32 on,
below that within half a step.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from patchvsr.errors import InputError, SettingsError
from patchvsr.media.color import FULL, RGB, UNSPECIFIED, ColorTags
from patchvsr.media.frames import Image
from patchvsr.media.images.transfer import PEAK, PQ, linear_of_codes, linear_to_pq

# H.273 primaries: x and y of red, green, blue, white.
_D65 = (0.3127, 0.3290)
CHROMATICITIES = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65),  # BT.709
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),  # BT.2020
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060, *_D65),  # BT.601, 625 lines
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),  # BT.601, 525 lines
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),  # P3 with D65
}


def require_openexr() -> ModuleType:
    """Return the OpenEXR package; raise SettingsError if it is not installed."""
    try:
        import OpenEXR
    except ImportError as err:
        raise SettingsError("EXR images need the OpenEXR package: pip install 'patchvsr[exr]'") from err
    return OpenEXR


def read_exr(file: Path) -> Image:
    """Return a single-part image with channels R, G, B and optionally A, as 16-bit PQ codes.

    The picture is the display window; pixels outside the data window are black and transparent.

    Raises InputError if the file is unreadable, of another layout, or has values that cannot be kept.
    Raises SettingsError if OpenEXR is not installed.
    """
    header, channels = _load(file)
    names = "RGBA" if "A" in channels else "RGB"
    missing = [name for name in "RGB" if name not in channels]
    if missing:
        raise InputError(f"{file}: has the channels {', '.join(channels)}; images need R, G and B")
    planes = [_plane(file, name, channels[name], header) for name in names]
    for name, plane in zip(names, planes, strict=True):
        _check_range(file, name, plane, highest=1.0 if name == "A" else PEAK)
    primaries = _primaries(header)
    return Image(
        rgb=np.stack([_to_pq(plane) for plane in planes[:3]], axis=-1),
        alpha=np.rint(planes[3].astype(np.float64) * 65535).astype(np.uint16) if "A" in channels else None,
        color=ColorTags(primaries, PQ, RGB, FULL),
        pix_fmt=f"{'gbrap' if 'A' in channels else 'gbrp'}f{planes[0].itemsize * 8}le",
        codec="exr",
        sample_aspect_ratio=Fraction(header.get("pixelAspectRatio", 1.0)).limit_denominator(10_000) or None,
        notices=_notices(header, list(channels), primaries),
    )


def encode_exr(
    rgb: np.ndarray,
    alpha: np.ndarray | None,
    color: ColorTags,
    *,
    premultiplied: bool = False,
    sample_aspect_ratio: Fraction | None = None,
) -> bytes:
    """Return the bytes of a half-float EXR with ZIP compression (lossless); raise SettingsError without OpenEXR.

    color: the transfer curve of `rgb`, and whether the source was RGB; see `transfer.linear_of_codes`.
    premultiplied: whether `rgb` is already multiplied by `alpha`; if not, that is done here, in linear light.
    """
    openexr = require_openexr()
    bits = rgb.itemsize * 8
    light = linear_of_codes(color.transfer, is_rgb=color.matrix == RGB, bits=bits)[rgb]
    planes = dict(zip("RGB", np.moveaxis(light, -1, 0), strict=True))
    if alpha is not None:
        coverage = alpha / np.float64(np.iinfo(alpha.dtype).max)
        planes = {name: plane if premultiplied else plane * coverage for name, plane in planes.items()}
        planes["A"] = coverage
    header: dict[str, Any] = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    if color.primaries in CHROMATICITIES:
        header["chromaticities"] = CHROMATICITIES[color.primaries]
    if sample_aspect_ratio:
        header["pixelAspectRatio"] = float(sample_aspect_ratio)
    halfs = {name: np.ascontiguousarray(plane, dtype=np.float16) for name, plane in planes.items()}
    stream = BytesIO()
    openexr.File(header, halfs).write(stream)
    return stream.getvalue()


def _load(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and channels of the only part."""
    openexr = require_openexr()
    try:
        image = openexr.File(str(file), separate_channels=True)
    except (RuntimeError, ValueError, OSError) as err:
        raise InputError(f"{file}: not a readable EXR image; replace or remove it") from err
    # OpenEXR silently omits a part that is truncated.
    if len(image.parts) == 0:
        raise InputError(f"{file}: not a readable EXR image (damaged or truncated); replace or remove it")
    header = image.parts[0].header
    if len(image.parts) > 1 or header["type"] not in (openexr.scanlineimage, openexr.tiledimage):
        raise InputError(f"{file}: has several parts or deep pixels; save it as a plain EXR image first")
    return header, image.parts[0].channels


def _plane(file: Path, name: str, channel: Any, header: dict[str, Any]) -> np.ndarray:
    """Return one channel over the whole display window."""
    pixels = channel.pixels
    if pixels.dtype not in (np.float16, np.float32) or (channel.xSampling, channel.ySampling) != (1, 1):
        raise InputError(f"{file}: channel {name} is not a full plane of half or float; save it as half first")
    (x0, y0), (x1, y1) = (tuple(int(v) for v in corner) for corner in header["displayWindow"])
    (left, top), (right, bottom) = (tuple(int(v) for v in corner) for corner in header["dataWindow"])
    if (left, top, right, bottom) == (x0, y0, x1, y1):
        return pixels
    if left < x0 or top < y0 or right > x1 or bottom > y1:
        raise InputError(f"{file}: has pixels outside its display window; crop it to {x1 - x0 + 1}x{y1 - y0 + 1} first")
    whole = np.zeros((y1 - y0 + 1, x1 - x0 + 1), pixels.dtype)
    whole[top - y0 : bottom - y0 + 1, left - x0 : right - x0 + 1] = pixels
    return whole


def _check_range(file: Path, name: str, plane: np.ndarray, *, highest: float) -> None:
    good = (plane >= 0) & (plane <= highest)  # False for NaN as well
    if not good.all():
        y, x = np.argwhere(~good)[0]
        raise InputError(
            f"{file}: {name} is {float(plane[y, x]):g} at ({x}, {y}), {np.count_nonzero(~good)} such values; "
            f"only 0 to {highest:g} can be kept, grade or clamp the image first"
        )


def _to_pq(plane: np.ndarray) -> np.ndarray:
    if plane.dtype == np.float16:
        return _pq_of_halfs()[np.ascontiguousarray(plane).view(np.uint16)]
    return _pq_codes(plane)


@lru_cache(maxsize=1)
def _pq_of_halfs() -> np.ndarray:
    """Return the PQ code of every half, indexed by its bits; entries outside the range are never used."""
    light = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    return _pq_codes(np.clip(np.nan_to_num(light), 0, PEAK))


def _pq_codes(light: np.ndarray) -> np.ndarray:
    return np.rint(linear_to_pq(np.abs(light)) * 65535).astype(np.uint16)  # abs removes -0.0


def _primaries(header: dict[str, Any]) -> int:
    given = header.get("chromaticities")
    for code, known in CHROMATICITIES.items():
        if given is not None and np.allclose(given, known, atol=1e-3):
            return code
    return UNSPECIFIED


def _notices(header: dict[str, Any], channels: list[str], primaries: int) -> tuple[str, ...]:
    notices = []
    others = [name for name in channels if name not in ("R", "G", "B", "A")]
    if others:
        notices.append(f"channels that are not kept: {', '.join(others)}")
    if "chromaticities" in header and primaries == UNSPECIFIED:
        notices.append("the chromaticities of the images are not kept (no H.273 primaries); pixels are unchanged")
    return tuple(notices)
