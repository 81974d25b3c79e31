"""Transfer functions between code values and linear light, where 1.0 is diffuse white.

Only images in linear light (OpenEXR) need them; all other pixels keep the curve of their source. Formulas are evaluated
in float64, element by element. Code points are those of H.273.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

LINEAR, SRGB, PQ, HLG = 8, 13, 16, 18
DIFFUSE_WHITE_CD_M2 = 100
PEAK = 10_000 / DIFFUSE_WHITE_CD_M2  # the peak of PQ

# SMPTE ST 2084, also ITU-R BT.2100 table 4.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ITU-R BT.2100 table 5; signal 0.75 is the reference white of ITU-R BT.2408.
_HLG_A, _HLG_B, _HLG_C, _HLG_WHITE = 0.17883277, 0.28466892, 0.55991073, 0.75


def linear_to_pq(light: np.ndarray) -> np.ndarray:
    """Convert linear light in [0, 100] to a PQ signal in [0, 1] (SMPTE ST 2084, inverse EOTF)."""
    power = (light.astype(np.float64) / PEAK) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def pq_to_linear(signal: np.ndarray) -> np.ndarray:
    """Convert a PQ signal to display light, 1.0 for 100 cd/m2 (SMPTE ST 2084, EOTF)."""
    power = signal.astype(np.float64) ** (1 / _M2)
    return PEAK * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def hlg_to_linear(signal: np.ndarray) -> np.ndarray:
    """Convert an HLG signal to scene light, 1.0 for reference white, 3.77 for peak (ITU-R BT.2100, inverse OETF).

    The OOTF is not applied, because it depends on the peak luminance of the display.
    """
    return _hlg_scene(signal.astype(np.float64)) / _hlg_scene(np.array(_HLG_WHITE))


def srgb_to_linear(signal: np.ndarray) -> np.ndarray:
    """Convert an sRGB signal to linear light (IEC 61966-2-1)."""
    signal = signal.astype(np.float64)
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def power_to_linear(exponent: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the transfer function of a display with pure gamma `exponent`."""
    return lambda signal: signal.astype(np.float64) ** exponent


@lru_cache(maxsize=8)
def linear_of_codes(transfer: int, *, is_rgb: bool, bits: int) -> np.ndarray:
    """Return the linear light of every code value of 8 or 16 bits under an H.273 transfer curve.

    Camera curves (BT.709, BT.601, BT.2020) are decoded as displays do, with gamma 2.4 (ITU-R BT.1886), and so is video
    with an unspecified or rare curve. RGB images with an unspecified curve are sRGB, as PNG defines it.
    """
    curves: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        4: power_to_linear(2.2),
        5: power_to_linear(2.8),
        LINEAR: power_to_linear(1.0),
        SRGB: srgb_to_linear,
        PQ: pq_to_linear,
        HLG: hlg_to_linear,
    }
    if is_rgb and transfer == 2:
        transfer = SRGB
    codes = np.arange(2**bits) / (2**bits - 1)
    return curves.get(transfer, power_to_linear(2.4))(codes)


def _hlg_scene(signal: np.ndarray) -> np.ndarray:
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12)
