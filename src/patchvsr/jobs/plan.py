"""Cut the work: shots into chunks that are restored together, chunks into units that are marked done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from patchvsr.models.geometry import TEMPORAL_FACTOR
from patchvsr.settings import ResolvedSettings

if TYPE_CHECKING:
    from patchvsr.pipeline import PatchVSRPipeline


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
    """Chunks that are marked done together. `frames` excludes those of earlier units.

    warm_up: chunks of earlier units, restored first and dropped if the unit begins by itself inside a shot. Empty if it
        needs what the previous unit hands over, or begins with a shot.
    """

    number: int
    chunks: tuple[Chunk, ...]
    warm_up: tuple[Chunk, ...] = ()

    @property
    def continues(self) -> bool:
        """Whether the unit goes on inside a shot."""
        return self.chunks[0].shared > 0

    @property
    def needs_previous(self) -> bool:
        """Whether the unit cannot be restored without what the previous one hands over."""
        return self.continues and not self.warm_up

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


def cut_units(chunks: Sequence[Chunk], unit_frames: int, warm_up: int | None = None) -> list[Unit]:
    """Group chunks into units of at least `unit_frames` frames. The last unit may be shorter.

    warm_up: see `warm_up_frames`.
    """
    units: list[Unit] = []
    first = 0
    for index, chunk in enumerate(chunks):
        begin = chunks[first]
        if chunk.stop - begin.start - begin.shared >= unit_frames or index + 1 == len(chunks):
            before = () if warm_up is None else _chunks_before(chunks, first, warm_up)
            units.append(Unit(len(units), tuple(chunks[first : index + 1]), before))
            first = index + 1
    return units


def warm_up_frames(pipeline: PatchVSRPipeline, restore: ResolvedSettings, chunk_frames: int) -> int | None:
    """Return how many frames a unit restores before its own if it begins by itself inside a shot, None if it cannot.

    Decoding depends on `lookback_frames` earlier frames. Denoising depends on the whole chunk, and on the chunk before
    it only if `chains_clips`. If it does not, the bytes are those of units restored in order.
    """
    lookback, overlap = pipeline.vae.lookback_frames, restore.overlap_frames
    if restore.num_inference_steps == 0:
        return max(lookback, overlap)
    if pipeline.chains_clips(restore) and not restore.independent_units:
        return None
    step = chunk_frames - overlap
    return overlap + max(1, -(-lookback // step)) * step  # whole chunks; the shared frames of the first are other ones


def _chunks_before(chunks: Sequence[Chunk], number: int, frames: int) -> tuple[Chunk, ...]:
    """Return chunks of the same shot with the `frames` frames before those of a chunk, the first of them shortened."""
    found: list[Chunk] = []
    wanted = chunks[number].start + chunks[number].shared - frames
    while chunks[number].shared and (not found or wanted < found[0].start):
        number -= 1
        late = max(0, wanted - chunks[number].start) // TEMPORAL_FACTOR * TEMPORAL_FACTOR
        chunk = chunks[number]
        found.insert(0, replace(chunk, start=chunk.start + late, place=chunk.place + late))
    return (replace(found[0], shared=0), *found[1:]) if found else ()
