"""What an output is: how its frames are encoded, and how encoded frames become a finished file or sequence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchvsr.media.contents import Contents
from patchvsr.media.segment import EncodedFrame, FrameEncoder


@dataclass(frozen=True)
class FrameTimes:
    """When each frame of the output is shown, in ticks of the source's time base, on the source's clock.

    Durations are None where the source does not say: only ever for the last frame.
    """

    pts: Sequence[int]
    durations: Sequence[int | None]


class Output(ABC):
    """An output that was checked before the work starts: its name, codec, and a place for every stream.

    path: what the user asked for. notices: lines for the user about what cannot be kept.
    profile: everything that shapes the encoded frames, as plain values.
    """

    path: Path
    notices: tuple[str, ...]
    profile: dict[str, object]

    @abstractmethod
    def rehearse(self, frames: int) -> None:
        """What can fail in the end, without the frames: long work should not end in an error that was there before.

        Raises OutputError when the output cannot hold that many frames, InputError when another stream of the source
        cannot be read or put into it. Reads the source through if it has other streams; writes nothing.
        """

    @abstractmethod
    def encoder(self) -> FrameEncoder:
        """A new encoder; what several of them encoded can be put together."""

    @abstractmethod
    def assemble(self, frames: Iterable[EncodedFrame], times: FrameTimes, *, reorder: int, folder: Path) -> Contents:
        """Writes the whole output below `folder`, which is on the same disk, and checks that every frame is there.

        reorder: the largest of the segments'. Raises OutputError; can be called again after a failure.
        """

    @abstractmethod
    def discard(self, folder: Path) -> None:
        """Removes what `assemble` wrote below `folder`, now or in a run that was killed, and nothing else."""

    @abstractmethod
    def publish(self, folder: Path) -> None:
        """Gives what `assemble` wrote its name, and replaces an older output. Raises OutputError."""
