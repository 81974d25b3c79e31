"""The interface of an output: encode frames, then assemble them into a finished file or image sequence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchvsr.media.contents import Contents
from patchvsr.media.segment import EncodedFrame, FrameEncoder


@dataclass(frozen=True)
class FrameTimes:
    """PTS and durations of the output frames, in ticks of the source's time base, on the source's clock.

    A duration is None where the source does not specify it, which happens for the last frame only.
    """

    pts: Sequence[int]
    durations: Sequence[int | None]


class Output(ABC):
    """An output whose name, codec and streams were validated before the work starts.

    path: the path that the user gave.
    notices: lines for the user about what cannot be kept.
    profile: everything that determines the encoded frames, as plain values.
    """

    path: Path
    notices: tuple[str, ...]
    profile: dict[str, object]

    @abstractmethod
    def rehearse(self, frames: int) -> None:
        """Try everything that could fail at the end, without the frames, so that it fails before the long work.

        Raises OutputError if the output cannot hold that many frames. Raises InputError if another stream of the source
        cannot be read or muxed. Reads the whole source if it has other streams; writes nothing.
        """

    @abstractmethod
    def encoder(self) -> FrameEncoder:
        """Return a new encoder; the frames of several encoders can be assembled into one output."""

    @abstractmethod
    def assemble(self, frames: Iterable[EncodedFrame], times: FrameTimes, *, reorder: int, folder: Path) -> Contents:
        """Write the whole output below `folder`, on the same disk, and check that it holds every frame.

        reorder: the largest `SegmentTable.reorder` of the segments.

        Raises OutputError on failure, after which it can be called again.
        """

    @abstractmethod
    def discard(self, folder: Path) -> None:
        """Remove what `assemble` wrote below `folder`, also in a killed run, and nothing else."""

    @abstractmethod
    def publish(self, folder: Path) -> None:
        """Rename what `assemble` wrote to `path`, replacing an older output; raise OutputError if that fails."""
