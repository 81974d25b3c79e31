"""Scan an input: read it once to measure the work and to find damage before anything starts."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from patchvsr.media import Frame


@dataclass(frozen=True)
class Scan:
    """Times and checksums of all frames of the input, or of the range that is used, and the cuts.

    pts, durations: in ticks of the source's time base. crcs: of the decoded pixels, see `frame_crc`.
    cuts: numbers of the frames that begin a shot, starting with 0.
    """

    pts: list[int] = field(default_factory=list)
    durations: list[int | None] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def shots(self) -> list[range]:
        """Return the frame numbers of each shot."""
        return [range(a, b) for a, b in zip(self.cuts, [*self.cuts[1:], len(self.pts)], strict=True)]

    def shot_of(self, number: int) -> range:
        """Return the frame numbers of the shot that a frame is part of."""
        following = bisect_right(self.cuts, number)
        return range(self.cuts[following - 1], [*self.cuts[following : following + 1], len(self.pts)][0])


def scan(frames: Iterable[Frame], found: Scan) -> Iterator[int]:
    """Fill the empty `found`, yielding the number of frames read so far. Holds a few frames."""
    # Imported here: OpenCV and PySceneDetect are slow to import, and `verify` and refusals do without them.
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
    """Return the scan of all frames."""
    found = Scan()
    for _ in scan(frames, found):
        pass
    return found


def frame_crc(frame: Frame) -> int:
    """Return the CRC-32 of a frame's pixels, alpha included, to check that decoding it again gives the same."""
    crc = zlib.crc32(np.ascontiguousarray(frame.rgb).data)
    return crc if frame.alpha is None else zlib.crc32(np.ascontiguousarray(frame.alpha).data, crc)
