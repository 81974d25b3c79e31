"""Cut the work: shots into chunks that are restored together, chunks into units that are marked done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from patchvsr.models.geometry import TEMPORAL_FACTOR


@dataclass(frozen=True)
class Chunk:
    """Frames [start, stop) of the video, restored together; never across a cut.

    shared: number of leading frames that also end the previous chunk, which hands over their latents.
    place: position of the first frame in the noise, a multiple of 4 (a latent frame covers four frames).
    """

    start: int
    stop: int
    shared: int
    place: int


@dataclass(frozen=True)
class Unit:
    """Chunks that are marked done together. `frames` excludes those of earlier units."""

    number: int
    chunks: tuple[Chunk, ...]

    @property
    def continues(self) -> bool:
        """Whether the unit goes on inside a shot, from what the previous unit hands over."""
        return self.chunks[0].shared > 0

    @property
    def frames(self) -> range:
        first = self.chunks[0]
        return range(first.start + first.shared, self.chunks[-1].stop)


def cut_chunks(shots: Iterable[range], length: int, overlap: int) -> list[Chunk]:
    """Return chunks of `length` frames that overlap by `overlap`, both 4k+1. The last of a shot may be shorter."""
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
    """Group chunks into units of at least `unit_frames` frames. The last unit may be shorter."""
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
