"""Estimate the memory for restoring a chunk, and choose the chunk length that fits."""

from __future__ import annotations

from typing import NamedTuple

import psutil

from patchvsr.errors import SettingsError
from patchvsr.jobs.calibrate import tile_pixels
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import CHUNK_FRAMES, ResolvedSettings

GIB = 2**30

# Fitted to whole jobs of the bundled model on a CPU (docs/experiments.md), some percent above the mean.
# PROCESS_GIB: the process with its libraries.
# CANVASES: float32 canvases of the frames that are decoded at once.
# TILE_BYTES: activations of a tile with its halo, per pixel and frame.
# STATE_BYTES: features carried from frame to frame, per pixel of all tiles with their halos.
#   Both are for 16-bit types; float32 takes twice as much.
# ENCODER_BYTES: the encoder and the frames queued for it, per pixel of one frame.
# STEP_GIB: what the transformer takes in addition to its weights. STEP_BYTES: conditions, per pixel and frame.
PROCESS_GIB = 0.7
CANVASES = 3.3
TILE_BYTES, STATE_BYTES = 160, 80
ENCODER_BYTES = 72
STEP_GIB, STEP_BYTES = 0.1, 3.5

LEAST_CHUNK_FRAMES = 5


class Memory(NamedTuple):
    """Peak memory in GiB: of the host, and of a device that holds the weights (0 if the host holds them)."""

    host_gib: float
    device_gib: float


def chunk_memory(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings, chunk_frames: int) -> Memory:
    """Return the peak memory for chunks of `chunk_frames` frames at `size`. Fitted to the bundled autoencoder."""
    padded = pipeline.padded_size(size)
    at_once = 1 if pipeline.vae.streaming else chunk_frames
    host = PROCESS_GIB + 3 * 4 * at_once * padded.width * padded.height * CANVASES / GIB
    host += size.width * size.height * ENCODER_BYTES / GIB
    pixels = tile_pixels(pipeline, size, settings.tile_px)
    activations = at_once * max(pixels) * TILE_BYTES
    state = sum(pixels) * STATE_BYTES if pipeline.vae.streaming else 0
    model = _weights_gib(pipeline) + (activations + state) * pipeline.dtype.itemsize / 2 / GIB
    if settings.num_inference_steps:
        host += STEP_BYTES * chunk_frames * padded.width * padded.height / GIB
        model += STEP_GIB
    return Memory(host + model, 0.0) if pipeline.device.type == "cpu" else Memory(host, model)


def free_memory_gib() -> float:
    """Return the memory that can be used without swapping, in GiB."""
    return psutil.virtual_memory().available / GIB


def choose_chunk_frames(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings) -> int:
    """Return the chunk length: as set, else the largest 4k+1 up to 17 that fits into the host's free memory.

    It is at least 5 and exceeds the overlap of chunks. It shapes the output, so a job records it in its manifest.

    Raises SettingsError if the model cannot denoise as many frames at once.
    """
    most = pipeline.longest_clip if settings.num_inference_steps else None
    least = max(LEAST_CHUNK_FRAMES, settings.overlap_frames + 4)
    wanted = settings.chunk_frames or least
    if most is not None and wanted > most:
        raise SettingsError(f"chunks of {wanted} frames are too long: this model denoises at most {most} at once")
    if settings.chunk_frames is not None:
        return settings.chunk_frames
    if pipeline.vae.streaming and not settings.num_inference_steps:
        return CHUNK_FRAMES  # frames are decoded one by one, however many there are in a chunk
    free = free_memory_gib() + _held_gib()
    for frames in range(min(CHUNK_FRAMES, most or CHUNK_FRAMES), least, -4):
        if chunk_memory(pipeline, size, settings, frames).host_gib <= free:
            return frames
    return least


def _held_gib() -> float:
    """Return the memory this process already holds (libraries and weights), which is part of its peak."""
    return psutil.Process().memory_info().rss / GIB


def _weights_gib(pipeline: PatchVSRPipeline) -> float:
    parts = (pipeline.transformer, pipeline.vae)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters()) / GIB
