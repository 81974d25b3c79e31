"""How much memory restoring a chunk takes, and how many frames fit at once."""

from __future__ import annotations

from typing import NamedTuple

import psutil

from patchvsr.config import CHUNK_FRAMES, UpscaleConfig
from patchvsr.jobs.calibrate import canvas_size, num_steps
from patchvsr.models.tiles import tiles
from patchvsr.pipeline import PatchVSRPipeline

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


def chunk_memory(pipeline: PatchVSRPipeline, size: tuple[int, int], config: UpscaleConfig, chunk_frames: int) -> Memory:
    """Peak for chunks of that many frames at `size` (width, height); fitted to the bundled autoencoder."""
    width, height = canvas_size(pipeline, size)
    canvas = 3 * 4 * chunk_frames * width * height / GIB
    host = PROCESS_GIB + canvas * CANVASES + size[0] * size[1] * ENCODER_BYTES / GIB
    model = _weights_gib(pipeline) + _tile_gib(pipeline, (width, height), chunk_frames, config.tile_px)
    if num_steps(pipeline, config):
        host += canvas * STEP_CANVASES
        model += STEP_GIB
    return Memory(host + model, 0.0) if pipeline.device.type == "cpu" else Memory(host, model)


def free_memory_gib() -> float:
    """Memory that can be used without swapping, in GiB."""
    return psutil.virtual_memory().available / GIB


def fitting_chunk_frames(pipeline: PatchVSRPipeline, size: tuple[int, int], config: UpscaleConfig) -> int:
    """17, or the largest 4k+1 below that fits into the free memory of the host; at least 5, and more than chunks share.

    The number shapes the output: a job keeps it in its manifest.
    """
    free = free_memory_gib() + _held_gib()
    least = max(LEAST_CHUNK_FRAMES, config.overlap_frames + 4)
    for frames in range(CHUNK_FRAMES, least, -4):
        if chunk_memory(pipeline, size, config, frames).host_gib <= free:
            return frames
    return least


def _held_gib() -> float:
    """What this process has already, libraries and weights, which is part of its peak."""
    return psutil.Process().memory_info().rss / GIB


def _weights_gib(pipeline: PatchVSRPipeline) -> float:
    parts = (pipeline.transformer, pipeline.vae)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters()) / GIB


def _tile_gib(pipeline: PatchVSRPipeline, canvas: tuple[int, int], chunk_frames: int, tile_px: int) -> float:
    autoencoder = pipeline.vae
    cut = tiles(canvas[1], canvas[0], tile_px, autoencoder.decoder_halo_px, autoencoder.spatial_factor)
    pixels = max((y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in (tile.outer for tile in cut))
    return chunk_frames * pixels * (FLOAT32_TILE_BYTES if pipeline.dtype.itemsize > 2 else TILE_BYTES) / GIB
