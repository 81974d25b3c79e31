"""What a job will be, before it is one: its parts counted, its first frames timed. Nothing is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

from patchvsr.config import UpscaleConfig
from patchvsr.jobs.clip import restore_clip
from patchvsr.jobs.memory import chunk_memory_gib, fitting_chunk_frames, free_memory_gib
from patchvsr.jobs.plan import cut_chunks, cut_units
from patchvsr.jobs.prepare import open_input, prepare
from patchvsr.jobs.scan import Scan, scan
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame, Output
from patchvsr.pipeline import PatchVSRPipeline

CALIBRATION_FRAMES = 5
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """patches: calls of the transformer for one chunk and step, 0 without steps. disk_gib: at the end of the work,
    when units and output are both there. free_*: what the machine has now."""

    input: str
    output: str
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    frames: int
    shots: int
    chunks: int
    chunk_frames: int
    units: int
    steps: int
    patches: int
    memory_gib: float
    free_memory_gib: float
    output_gib: float
    disk_gib: float
    free_disk_gib: float
    seconds: float
    notices: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people."""
        sizes = "x".join(map(str, self.input_size)), "x".join(map(str, self.output_size))
        yield f"{self.input} ({sizes[0]}) -> {self.output} ({sizes[1]})"
        yield from self.notices
        steps = f"{self.steps} steps of {self.patches} patches each" if self.steps else "0 steps"
        yield (
            f"work    {self.frames} frames, {self.shots} shots, {self.units} units, "
            f"{self.chunks} chunks of up to {self.chunk_frames} frames, {steps}"
        )
        yield f"memory  about {self.memory_gib:.1f} GiB of {self.free_memory_gib:.1f} GiB free"
        yield (
            f"disk    about {_size(self.disk_gib)} while working, {_size(self.output_gib)} in the end, "
            f"other streams aside, of {_size(self.free_disk_gib)} free"
        )
        yield f"time    about {timedelta(seconds=round(self.seconds))}"


def estimate(
    input_path: str | Path,
    output_path: str | Path,
    config: UpscaleConfig,
    get_pipeline: Callable[[], PatchVSRPipeline],
) -> Estimate:
    """Reads the whole input and restores its first frames; raises `PatchVSRError` as `upscale` does."""
    prepared = prepare(input_path, output_path, config)
    started_at = time.monotonic()
    with open_input(input_path, config) as reader:
        scanned = _returned(scan(reader))
    prepared.output.rehearse(len(scanned.pts))
    seconds_to_read = time.monotonic() - started_at
    pipeline = get_pipeline()
    with open_input(input_path, config) as reader:
        first = list(islice(reader, CALIBRATION_FRAMES))
    seconds, frame_bytes = _calibrate(pipeline, config, prepared.size, first, prepared.output)

    chunk_frames = config.chunk_frames or fitting_chunk_frames(pipeline, prepared.size, config.tile_px)
    chunks = cut_chunks(scanned.shots(), chunk_frames, config.overlap_frames)
    frames = len(scanned.pts)
    steps = pipeline.config.num_inference_steps if config.num_inference_steps is None else config.num_inference_steps
    return Estimate(
        input=str(input_path),
        output=str(output_path),
        input_size=(prepared.info.width, prepared.info.height),
        output_size=prepared.size,
        frames=frames,
        shots=len(scanned.cuts),
        chunks=len(chunks),
        chunk_frames=chunk_frames,
        units=len(cut_units(chunks, config.unit_frames)),
        steps=steps,
        patches=pipeline.count_patches(chunk_frames, prepared.size, config.joint_mode) if steps else 0,
        memory_gib=chunk_memory_gib(pipeline, prepared.size, chunk_frames, config.tile_px),
        free_memory_gib=free_memory_gib(),
        output_gib=frames * frame_bytes / GIB,
        disk_gib=2 * frames * frame_bytes / GIB,
        free_disk_gib=shutil.disk_usage(_existing(prepared.output.path)).free / GIB,
        seconds=seconds_to_read + seconds * sum(chunk.stop - chunk.start for chunk in chunks),
        notices=prepared.notices,
    )


def _calibrate(
    pipeline: PatchVSRPipeline, config: UpscaleConfig, size: tuple[int, int], frames: list[Frame], output: Output
) -> tuple[float, float]:
    """Seconds and encoded bytes per frame, of a few frames; one goes before, because first calls are slow."""
    pieces = Pieces(config.batch_size, config.tile_px)
    restore_clip(pipeline, config, size, frames[:1], pieces=pieces)
    started_at = time.monotonic()
    restored, _ = restore_clip(pipeline, config, size, frames, pieces=pieces)
    encoder = output.encoder()
    encoded = [part for frame in restored for part in encoder.encode(frame)] + encoder.finish()
    seconds = time.monotonic() - started_at
    return seconds / len(frames), sum(len(part.data) for part in encoded) / len(frames)


def _returned(generator: Generator[int, None, Scan]) -> Scan:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _size(gib: float) -> str:
    return f"{gib * 1024:.0f} MiB" if gib < 1 else f"{gib:.1f} GiB"
