"""Sizes of pictures: (width, height) in pixels, everywhere."""

from __future__ import annotations

import re
from typing import NamedTuple

from patchvsr.errors import SettingsError

# Boxes that a named size must fit in; the input keeps its aspect ratio.
NAMED_SIZES = {
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "1440p": (2560, 1440),
    "2k": (2560, 1440),
    "2160p": (3840, 2160),
    "4k": (3840, 2160),
    "8k": (7680, 4320),
}
DEFAULT_SCALE = 4.0
LARGEST_SIDE = 99_999
MAX_ASPECT_CHANGE = 0.02


class Size(NamedTuple):
    """Width and height in pixels. Tensors have them the other way round: (..., height, width)."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def of(cls, picture: object) -> Size:
        """Return the size of a tensor (..., height, width)."""
        height, width = picture.shape[-2:]  # type: ignore[attr-defined]
        return cls(width, height)

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read "3840x2160" or a name such as "4k". Raises SettingsError."""
        if text.lower() in NAMED_SIZES:
            return cls(*NAMED_SIZES[text.lower()])
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
        if not match or "0" in match.groups():
            names = ", ".join(NAMED_SIZES)
            raise SettingsError(
                f"size {text!r} is not understood: give WIDTHxHEIGHT, for example 3840x2160, or {names}"
            )
        return cls(int(match[1]), int(match[2]))

    def scaled(self, factor: float) -> Size:
        """Return the size times `factor`, rounded, at least 1 pixel a side. Raises SettingsError unless factor > 0."""
        if not 0 < factor < float("inf"):
            raise SettingsError(f"scale is {factor:g}: it must be greater than 0, for example 4")
        if max(self) * factor > LARGEST_SIDE:
            raise SettingsError(f"scale is {factor:g}: a side would have more than {LARGEST_SIDE} pixels; give less")
        return Size(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def fitted(self, box: Size) -> Size:
        """Return the largest size of this aspect ratio inside `box`, which turns upright for an upright picture."""
        if (self.width < self.height) != (box.width < box.height):
            box = Size(box.height, box.width)
        factor = min(box.width / self.width, box.height / self.height)
        # Even sides: nearly every delivery format needs them, and a name asks for no exact number.
        return Size(*(max(2, 2 * round(side * factor / 2)) for side in self))


def check_scale_or_size(scale: float | None, size: object | None) -> None:
    """Raise SettingsError for both at once, or a scale that is not positive."""
    if scale is not None and size is not None:
        raise SettingsError("give scale or size, not both")
    if scale is not None:
        Size(1, 1).scaled(scale)


def target_size(source: Size, scale: float | None, size: str | None, *, allow_smaller: bool = False) -> Size:
    """Return the size of the output; x4 if neither `scale` nor `size` is given.

    Raises SettingsError for a size that is smaller than the input, unless allowed, or would distort it.
    """
    if size is None:
        target = source.scaled(DEFAULT_SCALE if scale is None else scale)
    elif size.lower() in NAMED_SIZES:
        target = source.fitted(Size.parse(size))
    else:
        target = Size.parse(size)
        change = target.width * source.height / (target.height * source.width)
        if abs(change - 1) > MAX_ASPECT_CHANGE:
            raise SettingsError(f"size {size} would distort the {source} input: {source.fitted(target)} fits it")
    if not allow_smaller and (target.width < source.width or target.height < source.height):
        raise SettingsError(
            f"the output would be {target}, smaller than the input's {source}: "
            "give a larger size, or allow it with --allow-smaller"
        )
    return target
