"""What a user can set for an upscale. Checked when built; the media package checks codecs itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from patchvsr.errors import SettingsError
from patchvsr.media import EncodeSettings
from patchvsr.patches.windows import MODES

# Boxes that a named size must fit in, the aspect ratio of the input kept.
NAMED_SIZES = {
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "1440p": (2560, 1440),
    "2k": (2560, 1440),
    "2160p": (3840, 2160),
    "4k": (3840, 2160),
    "8k": (7680, 4320),
}
MAX_ASPECT_CHANGE = 0.02
CHUNK_FRAMES = 17
# About two seconds of film: each unit begins with a key frame, and a killed job loses at most one.
UNIT_FRAMES = 48


@dataclass(frozen=True)
class UpscaleConfig:
    """Settings of one upscale. `None` means: the model's own default.

    rate: of an image sequence, in frames a second, as text ("24000/1001") because floats are not exact.
    deinterlace: frame, field or off, see `media.open_reader`; None refuses interlaced input.
    codec: None means the container's usual one.

    scale, size: target as a factor, as "WIDTHxHEIGHT" or by name ("4k": fits 3840x2160, aspect ratio kept);
        x4 if neither is given.
    restoration: how degraded the input is taken to be, 0 (only made smaller) to 1; None estimates it shot by shot.
    chunk_frames: frames processed together, 4k+1. overlap_frames: frames a chunk shares with the one before, 4k+1.
        Both shape the output.
    unit_frames: a unit of a job ends with the first chunk that makes it this long; shapes the output too.
    """

    scale: float | None = None
    size: str | None = None
    allow_smaller: bool = False
    model: str = "mini"
    num_inference_steps: int | None = None
    joint_mode: str | None = None
    seed: int = 0
    restoration: float | None = None
    noise_timestep: float | None = None
    branch_scale: float = 1.0
    device: str | None = None
    dtype: str | None = None
    batch_size: int = 1
    tile_px: int = 1280
    chunk_frames: int | None = None
    overlap_frames: int = 1
    unit_frames: int = UNIT_FRAMES
    color_match: bool = True
    start_s: float | None = None
    end_s: float | None = None
    deinterlace: str | None = None
    rate: str | None = None
    codec: str | None = None
    crf: float | None = None
    pix_fmt: str | None = None
    encoder_options: dict[str, str] = field(default_factory=dict)
    skip_streams: tuple[int, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and self.size is not None:
            raise SettingsError("give scale or size, not both")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise SettingsError(f"scale is {self.scale:g}: it must be greater than 0, for example 4")
        if self.size is not None:
            parse_size(self.size)
        if self.rate is not None:
            _parse_rate(self.rate)
        if self.num_inference_steps is not None and self.num_inference_steps < 0:
            raise SettingsError(f"steps is {self.num_inference_steps}: give 0 (preview) or more")
        if self.joint_mode is not None and self.joint_mode not in MODES:
            raise SettingsError(f"unknown joint mode {self.joint_mode!r}: choose one of {', '.join(MODES)}")
        if self.dtype not in (None, "float32", "bfloat16", "float16"):
            raise SettingsError(f"unknown dtype {self.dtype!r}: choose float32, bfloat16 or float16")
        if self.noise_timestep is not None and not 0 <= self.noise_timestep <= 1000:
            raise SettingsError(f"noise timestep is {self.noise_timestep:g}: it must lie between 0 and 1000")
        if self.restoration is not None and not 0 <= self.restoration <= 1:
            raise SettingsError(f"restoration is {self.restoration:g}: it must lie between 0 and 1")
        for name in ("chunk_frames", "overlap_frames"):
            value = getattr(self, name)
            if value is not None and (value < 1 or value % 4 != 1):
                raise SettingsError(f"{name} is {value}: it must be 4k+1, for example 5 or 17")
        if self.overlap_frames >= (self.chunk_frames or CHUNK_FRAMES):
            raise SettingsError(f"overlap_frames is {self.overlap_frames}: it must be less than chunk_frames")
        for name, least in (("batch_size", 1), ("tile_px", 64), ("unit_frames", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)}: it must be at least {least}")

    def reading(self) -> dict[str, Any]:
        """How the input is read: keywords of `open_reader`."""
        rate = None if self.rate is None else _parse_rate(self.rate)
        return {"start_s": self.start_s, "end_s": self.end_s, "rate": rate, "deinterlace": self.deinterlace}

    def encode_settings(self) -> EncodeSettings:
        return EncodeSettings(self.codec, self.crf, self.pix_fmt, self.encoder_options)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the output for an input of that size.

        Raises SettingsError for a size that is smaller than the input (unless allowed) or would distort it.
        """
        if self.size is None:
            scale = 4.0 if self.scale is None else self.scale
            target = (max(1, round(width * scale)), max(1, round(height * scale)))
        elif self.size.lower() in NAMED_SIZES:
            target = _fit(width, height, *NAMED_SIZES[self.size.lower()])
        else:
            target = parse_size(self.size)
            change = target[0] * height / (target[1] * width)
            if abs(change - 1) > MAX_ASPECT_CHANGE:
                fitted = "x".join(map(str, _fit(width, height, *target)))
                raise SettingsError(f"size {self.size} would distort the {width}x{height} input: {fitted} fits it")
        if not self.allow_smaller and (target[0] < width or target[1] < height):
            raise SettingsError(
                f"the output would be {target[0]}x{target[1]}, smaller than the input's {width}x{height}: "
                "give a larger size, or allow it with --allow-smaller"
            )
        return target


def _parse_rate(rate: str) -> Fraction:
    """ "25", "23.976" or "24000/1001", exactly. Raises SettingsError."""
    try:
        found = Fraction(rate)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if found <= 0:
        raise SettingsError(f"rate {rate!r} is not understood: give frames a second, for example 25 or 24000/1001")
    return found


def parse_size(size: str) -> tuple[int, int]:
    """ "3840x2160" or a name -> (width, height). Raises SettingsError."""
    if size.lower() in NAMED_SIZES:
        return NAMED_SIZES[size.lower()]
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if not match or "0" in match.groups():
        names = ", ".join(NAMED_SIZES)
        raise SettingsError(f"size {size!r} is not understood: give WIDTHxHEIGHT, for example 3840x2160, or {names}")
    return int(match[1]), int(match[2])


def _fit(width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
    """The largest size of the input's shape inside the box, or inside the upright box for an upright input."""
    if (width < height) != (box_width < box_height):
        box_width, box_height = box_height, box_width
    factor = min(box_width / width, box_height / height)
    # Even sides: nearly every delivery format needs them, and a name asks for no exact number.
    return tuple(max(2, 2 * round(side * factor / 2)) for side in (width, height))  # type: ignore[return-value]
