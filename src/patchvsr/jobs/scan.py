"""The first look at an input: it is read once, so that the work is known, and damage found, before anything starts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from patchvsr.media import Frame


@dataclass(frozen=True)
class Scan:
    """One entry for every frame of the input, or of the range of it that is used.

    pts, durations: in ticks of the source's time base. crcs: of the decoded pixels, see `frame_crc`.
    cuts: the numbers of the frames that begin a shot, 0 first.
    """

    pts: list[int] = field(default_factory=list)
    durations: list[int | None] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def shots(self) -> list[range]:
        """The frames of every shot."""
        return [range(a, b) for a, b in zip(self.cuts, [*self.cuts[1:], len(self.pts)], strict=True)]


def scan(frames: Iterable[Frame], found: Scan) -> Iterator[int]:
    """Fills `found`, which is empty; yields the number of frames read, after each. Holds a few frames."""
    # Here because OpenCV and PySceneDetect are slow to import, and `verify` and refusals do without them.
    from patchvsr.media.shots import mark_cuts

    def pixels() -> Iterator[np.ndarray]:
        for frame in frames:
            found.pts.append(frame.pts)
            found.durations.append(frame.duration)
            found.crcs.append(frame_crc(frame))
            yield frame.rgb

    for number, (is_first, _) in enumerate(mark_cuts(pixels())):
        if is_first:
            found.cuts.append(number)
        yield number + 1


def scan_all(frames: Iterable[Frame]) -> Scan:
    """The same in one go."""
    found = Scan()
    for _ in scan(frames, found):
        pass
    return found


def frame_crc(frame: Frame) -> int:
    """CRC-32 of a frame's pixels: tells whether it was decoded the same way again."""
    crc = zlib.crc32(np.ascontiguousarray(frame.rgb).data)
    return crc if frame.alpha is None else zlib.crc32(np.ascontiguousarray(frame.alpha).data, crc)
