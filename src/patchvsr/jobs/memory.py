"""How much memory restoring a chunk takes, and how many frames fit at once."""

from __future__ import annotations

from typing import NamedTuple

import psutil

from patchvsr.models.tiles import tiles
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import CHUNK_FRAMES, ResolvedSettings

GIB = 2**30

# Fitted to whole jobs of the bundled model on a CPU (docs/experiments.md), some percent above the mean: the process
# with its libraries; canvases of float32 that are held at once, more of them with denoising; activations of a tile with
# its halo, per pixel and frame (float32 takes more than twice as much as bfloat16); the encoder with the frames on
# their way to it, per pixel of one frame; and what the transformer takes beside its weights.
PROCESS_GIB = 0.66
CANVASES, STEP_CANVASES = 3.3, 0.55
TILE_BYTES, FLOAT32_TILE_BYTES = 56, 140
ENCODER_BYTES = 46
STEP_GIB = 0.2

LEAST_CHUNK_FRAMES = 5


class Memory(NamedTuple):
    """At its peak, in GiB: of the host, and of a device that holds the weights, 0 where the host does."""

    host_gib: float
    device_gib: float


def chunk_memory(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings, chunk_frames: int) -> Memory:
    """Peak for chunks of that many frames at `size`; fitted to the bundled autoencoder."""
    padded = pipeline.padded_size(size)
    canvas = 3 * 4 * chunk_frames * padded.width * padded.height / GIB
    host = PROCESS_GIB + canvas * CANVASES + size.width * size.height * ENCODER_BYTES / GIB
    model = _weights_gib(pipeline) + _tile_gib(pipeline, padded, chunk_frames, settings.tile_px)
    if settings.num_inference_steps:
        host += canvas * STEP_CANVASES
        model += STEP_GIB
    return Memory(host + model, 0.0) if pipeline.device.type == "cpu" else Memory(host, model)


def free_memory_gib() -> float:
    """Memory that can be used without swapping, in GiB."""
    return psutil.virtual_memory().available / GIB


def choose_chunk_frames(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings) -> int:
    """Return the length of chunks: as set, or 17, or the largest 4k+1 below that fits into the host's free memory.

    It is at least 5, and more than chunks share. It shapes the output, so a job keeps it in its manifest.
    """
    if settings.chunk_frames is not None:
        return settings.chunk_frames
    free = free_memory_gib() + _held_gib()
    least = max(LEAST_CHUNK_FRAMES, settings.overlap_frames + 4)
    for frames in range(CHUNK_FRAMES, least, -4):
        if chunk_memory(pipeline, size, settings, frames).host_gib <= free:
            return frames
    return least


def _held_gib() -> float:
    """What this process has already, libraries and weights, which is part of its peak."""
    return psutil.Process().memory_info().rss / GIB


def _weights_gib(pipeline: PatchVSRPipeline) -> float:
    parts = (pipeline.transformer, pipeline.vae)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters()) / GIB


def _tile_gib(pipeline: PatchVSRPipeline, canvas: Size, chunk_frames: int, tile_px: int) -> float:
    autoencoder = pipeline.vae
    cut = tiles(canvas.height, canvas.width, tile_px, autoencoder.decoder_halo_px, autoencoder.geometry.spatial_factor)
    pixels = max((y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in (tile.outer for tile in cut))
    return chunk_frames * pixels * (FLOAT32_TILE_BYTES if pipeline.dtype.itemsize > 2 else TILE_BYTES) / GIB
