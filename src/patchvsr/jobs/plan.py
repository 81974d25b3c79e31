"""How the work is cut: shots into chunks that are restored together, chunks into units that are done or not done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from patchvsr.models.geometry import TEMPORAL_FACTOR


@dataclass(frozen=True)
class Chunk:
    """Frames [start, stop) of the video, restored together; never across a cut.

    shared: how many at the beginning are also the end of the chunk before, whose latents of them are handed on.
    place: where the noise of its first frame is taken from, a multiple of 4 (latents hold four frames).
    """

    start: int
    stop: int
    shared: int
    place: int


@dataclass(frozen=True)
class Unit:
    """Chunks that are done as one; its frames are those that no unit before has."""

    number: int
    chunks: tuple[Chunk, ...]

    @property
    def frames(self) -> range:
        first = self.chunks[0]
        return range(first.start + first.shared, self.chunks[-1].stop)


def cut_chunks(shots: Iterable[range], length: int, overlap: int) -> list[Chunk]:
    """Chunks of `length` frames that share `overlap` with the one before, both 4k+1; the last of a shot is shorter."""
    chunks = []
    for shot in shots:
        start, shared = shot.start, 0
        while True:
            stop = min(start + length, shot.stop)
            place = -(-shot.start // TEMPORAL_FACTOR) * TEMPORAL_FACTOR + start - shot.start
            chunks.append(Chunk(start, stop, shared, place))
            if stop == shot.stop:
                break
            start, shared = stop - overlap, overlap
    return chunks


def cut_units(chunks: Iterable[Chunk], unit_frames: int) -> list[Unit]:
    """Runs of chunks of at least `unit_frames` frames, the last one aside."""
    units: list[Unit] = []
    run: list[Chunk] = []
    for chunk in chunks:
        run.append(chunk)
        if chunk.stop - run[0].start - run[0].shared >= unit_frames:
            units.append(Unit(len(units), tuple(run)))
            run = []
    if run:
        units.append(Unit(len(units), tuple(run)))
    return units
