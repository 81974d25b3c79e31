"""Settings for reading an input and encoding an output. They are checked when built."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

from patchvsr.errors import SettingsError
from patchvsr.setting import setting

DEINTERLACE_MODES = ("frame", "field", "off")
LONGEST_S = 1e9  # thirty years


@dataclass(frozen=True)
class ReadSettings:
    """How an input is read.

    start_s, end_s: read exactly the frames with start_s <= t < end_s, t in seconds from the first frame.
    deinterlace: None refuses interlaced video. `frame` makes one progressive frame of each interlaced frame. `field`
        makes one of each field, with exact times in ticks of half the size. `off` reads frames as stored.
    rate: frames per second of an image sequence, as text ("24000/1001") because floats are not exact; None is 24.
    """

    start_s: float | None = setting(None, "Start time in seconds from the first frame.", "--start")
    end_s: float | None = setting(None, "End time in seconds from the first frame, exclusive.", "--end")
    deinterlace: str | None = setting(
        None,
        "Deinterlace: frame (same rate), field (double rate), or off (only flagged as interlaced).",
        default_text="refuse interlaced",
    )
    rate: str | None = setting(None, "Frames per second of an image sequence.", default_text="24")

    def __post_init__(self) -> None:
        for name, value in (("start", self.start_s), ("end", self.end_s)):
            if value is not None and not (isfinite(value) and value < LONGEST_S):
                raise SettingsError(f"{name} is {value}: give seconds from the first frame")
        if self.start_s is not None and self.start_s < 0:
            raise SettingsError(f"start {self.start_s} s is before the video; give 0 or more")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise SettingsError(f"end {self.end_s} s is not after start {self.start_s or 0} s; give a later end")
        if self.deinterlace is not None and self.deinterlace not in DEINTERLACE_MODES:
            raise SettingsError(
                f"deinterlace {self.deinterlace!r} is unknown; choose from {', '.join(DEINTERLACE_MODES)}"
            )
        if self.rate is not None:
            _parse_rate(self.rate)

    @property
    def frame_rate(self) -> Fraction | None:
        """`rate` as an exact number."""
        return None if self.rate is None else _parse_rate(self.rate)


@dataclass(frozen=True)
class EncodeSettings:
    """How an output is encoded.

    codec: h264, hevc, av1, vp9, prores, dnxhr, ffv1, or the name of any FFmpeg video encoder; None chooses by the
        output, see `encoders.default_codec`.
    crf: quality, lower is better; default 16 for libx264, 18 for libx265, 22 for AV1, 24 for VP9. FFV1 has none,
        because it is lossless. ProRes and DNxHR have none either, but options such as {"profile": "lt"}.
    pix_fmt: default yuv420p for 8-bit sources, yuv420p10le above 8 bits, and for libx265 yuv420p12le above 10 bits;
        the yuv444p formats if width or height is odd. ProRes uses yuv422p10le, or yuv444p10le for odd widths.
        FFV1 keeps RGB: bgr0, or gbrp16le above 8 bits.
    encoder_options: passed to the encoder, for example {"preset": "slow"}.
    skip_streams: indices of source streams to leave out.
    overwrite: whether an existing output may be replaced.
    """

    codec: str | None = setting(
        None, "Codec: h264, hevc, av1, vp9, prores, dnxhr, ffv1, or any FFmpeg video encoder.", shapes_output=False
    )
    crf: float | None = setting(None, "Quality; lower is better.", default_text="by codec", shapes_output=False)
    pix_fmt: str | None = setting(
        None, "Pixel format of the output.", default_text="by codec and source", shapes_output=False
    )
    encoder_options: dict[str, str] = setting(  # noqa: RUF009  (a field, as `dataclasses.field` makes it)
        {}, "Option for the encoder; repeatable.", "-e", "--encoder-option", metavar="KEY=VALUE", shapes_output=False
    )
    skip_streams: tuple[int, ...] = setting(
        (),
        "Index of a stream to leave out, see `patchvsr info`; repeatable.",
        "--skip-stream",
        metavar="INDEX",
        shapes_output=False,
        in_presets=False,
    )
    overwrite: bool = setting(
        False, "Replace an existing output.", "--overwrite", shapes_output=False, in_presets=False
    )

    def __post_init__(self) -> None:
        # What else is possible depends on encoder, source and size, see `encoders.choose_encoder`.
        if self.crf is not None and not isfinite(self.crf):
            raise SettingsError(f"crf is {self.crf}: give a number, for example 16")
        if any(index < 0 for index in self.skip_streams):
            raise SettingsError(f"stream {min(self.skip_streams)} cannot be left out: indices start at 0")


def _parse_rate(rate: str) -> Fraction:
    """Parse "25", "23.976" or "24000/1001" exactly. Raises SettingsError unless it is a positive number."""
    try:
        found = Fraction(rate)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if found <= 0:
        raise SettingsError(f"rate {rate!r} is not understood: give frames per second, for example 25 or 24000/1001")
    return found
