"""Estimate the work, memory, disk space and time of a job without writing anything.

The parts of the job are counted; its speed is measured on one patch.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from statistics import fmean

from patchvsr.jobs.calibrate import calibrate
from patchvsr.jobs.clip import enlarged
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.memory import choose_chunk_frames, chunk_memory, free_memory_gib
from patchvsr.jobs.plan import cut_chunks, cut_units, warm_up_frames
from patchvsr.jobs.prepare import prepare
from patchvsr.jobs.scan import Scan, scan_all
from patchvsr.media import Frame, Output, ReadSettings, open_reader, refuse_existing
from patchvsr.media.segment import EncodedFrame
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import UpscaleSettings

ENCODED_FRAMES = 9
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Expected size and cost of a job.

    patches: number of patches per chunk and denoising step, 0 without steps.
    memory_gib: peak of the host. device_memory_gib: peak of a device that holds the weights, else 0.
    disk_gib: at the end of the work, when units and output both exist.
    free_*: what is free on this machine now.
    """

    input: str
    output: str
    input_size: Size
    output_size: Size
    frames: int
    shots: int
    units: int
    chunks: int
    chunk_frames: int
    steps: int
    patches: int
    memory_gib: float
    free_memory_gib: float
    device_memory_gib: float
    output_gib: float
    disk_gib: float
    free_disk_gib: float
    seconds: float
    notices: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the lines to show to the user."""
        yield f"{self.input} ({self.input_size}) -> {self.output} ({self.output_size})"
        yield from self.notices
        steps = f"{self.steps} steps of {self.patches} patches each" if self.steps else "0 steps"
        yield (
            f"  work    {self.frames} frames, {self.shots} shots, {self.units} units, "
            f"{self.chunks} chunks of up to {self.chunk_frames} frames, {steps}"
        )
        device = f", and {self.device_memory_gib:.1f} GiB on the device" if self.device_memory_gib else ""
        yield f"  memory  about {self.memory_gib:.1f} GiB of {self.free_memory_gib:.1f} GiB free{device}"
        yield (
            f"  disk    about {_size(self.disk_gib)} while working, {_size(self.output_gib)} in the end, "
            f"other streams not counted, of {_size(self.free_disk_gib)} free"
        )
        yield f"  time    about {_duration(self.seconds)}"


@dataclass(frozen=True)
class Sum:
    """Total of several jobs run in sequence. Memory: of the largest job. disk_gib: all outputs and one job's units."""

    jobs: int
    frames: int
    memory_gib: float
    device_memory_gib: float
    output_gib: float
    disk_gib: float
    seconds: float

    @classmethod
    def of(cls, estimates: Sequence[Estimate]) -> Sum:
        output = sum(job.output_gib for job in estimates)
        return cls(
            jobs=len(estimates),
            frames=sum(job.frames for job in estimates),
            memory_gib=max(job.memory_gib for job in estimates),
            device_memory_gib=max(job.device_memory_gib for job in estimates),
            output_gib=output,
            disk_gib=output + max(job.disk_gib - job.output_gib for job in estimates),
            seconds=sum(job.seconds for job in estimates),
        )

    def lines(self) -> Iterator[str]:
        """Yield the lines to show to the user."""
        yield (
            f"all {self.jobs}: {self.frames} frames, about {self.memory_gib:.1f} GiB of memory, "
            f"up to {_size(self.disk_gib)} of disk, {_size(self.output_gib)} in the end, {_duration(self.seconds)}"
        )


def estimate(
    input_path: str | Path,
    output_path: str | Path,
    settings: UpscaleSettings,
    get_pipeline: Callable[[], PatchVSRPipeline],
) -> Estimate:
    """Estimate an upscale. Reads the whole input and restores one patch. Raises `PatchVSRError` as `upscale` does."""
    prepared = prepare(input_path, output_path, settings)
    size, output = prepared.size, prepared.output
    if JobFolder(output.path).read_manifest() is None:
        refuse_existing(output.path, prepared.info, overwrite=settings.encode.overwrite)
    started_at = time.monotonic()
    with open_reader(input_path, settings.read) as reader:
        scanned = scan_all(reader)
    output.rehearse(len(scanned.pts))
    reading_s = time.monotonic() - started_at
    pipeline = get_pipeline()
    restore = pipeline.resolve(settings.restore)
    chunk_frames = choose_chunk_frames(pipeline, size, restore)
    chunks = cut_chunks(scanned.shots(), chunk_frames, restore.overlap_frames)
    units = cut_units(chunks, restore.unit_frames, warm_up_frames(pipeline, restore, chunk_frames))
    repeated = [chunk for unit in units for chunk in unit.warm_up] if restore.independent_units else []

    frames = _some_frames(input_path, settings.read, scanned)
    speed = calibrate(pipeline, restore, size, frames[0], chunk_frames)
    restoring_s = speed.seconds(pipeline, restore, size, [*chunks, *repeated])
    encoding_s, key_bytes, other_bytes = _encode(output, frames, size)
    output_gib = (len(units) * key_bytes + (len(scanned.pts) - len(units)) * other_bytes) / GIB
    memory = chunk_memory(pipeline, size, restore, chunk_frames)
    return Estimate(
        input=str(input_path),
        output=str(output_path),
        input_size=Size(prepared.info.width, prepared.info.height),
        output_size=size,
        frames=len(scanned.pts),
        shots=len(scanned.cuts),
        units=len(units),
        chunks=len(chunks),
        chunk_frames=chunk_frames,
        steps=restore.num_inference_steps,
        patches=pipeline.count_patches(chunk_frames, size, restore.joint_mode) if restore.num_inference_steps else 0,
        memory_gib=memory.host_gib,
        free_memory_gib=free_memory_gib(),
        device_memory_gib=memory.device_gib,
        output_gib=output_gib,
        disk_gib=2 * output_gib,
        free_disk_gib=shutil.disk_usage(_existing(output.path)).free / GIB,
        # The input is read twice: once for the scan, once to restore it.
        seconds=2 * reading_s + restoring_s + encoding_s * len(scanned.pts),
        notices=prepared.notices,
    )


def _some_frames(input_path: str | Path, read: ReadSettings, scanned: Scan) -> list[Frame]:
    """Return a few frames from the middle of the input, because films begin with black frames."""
    first = max(0, len(scanned.pts) - ENCODED_FRAMES) // 2
    with open_reader(input_path, read, resume_pts=scanned.pts[first]) as reader:
        return list(islice(reader, ENCODED_FRAMES))


def _encode(output: Output, frames: list[Frame], size: Size) -> tuple[float, float, float]:
    """Encode bicubically enlarged frames. Returns seconds per frame, mean bytes of a key frame and of another frame."""
    larger = [enlarged(frame, size) for frame in frames]
    started_at = time.monotonic()
    encoder = output.encoder()
    encoded: list[EncodedFrame] = [part for frame in larger for part in encoder.encode(frame)] + encoder.finish()
    seconds = (time.monotonic() - started_at) / len(frames)
    keys = [len(part.data) for part in encoded if part.is_keyframe]
    others = [len(part.data) for part in encoded if not part.is_keyframe] or keys
    return seconds, fmean(keys), fmean(others)


def _existing(path: Path) -> Path:
    """Return the nearest parent folder that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _size(gib: float) -> str:
    if gib < 1 / 1024:
        return f"{gib * 2**20:.0f} KiB"
    return f"{gib * 1024:.1f} MiB" if gib < 1 else f"{gib:.1f} GiB"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
