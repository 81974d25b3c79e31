"""How much memory restoring a chunk takes, and how many frames fit at once."""

from __future__ import annotations

import psutil

from patchvsr.config import CHUNK_FRAMES
from patchvsr.pipeline import PatchVSRPipeline

GIB = 2**30

# Measured on the bundled model (docs/experiments.md): the process itself; what stands beside the canvas, in canvases of
# float32 (decoded video, conditions, what the allocator keeps); and activations per pixel and frame of a decoder's
# tile with its halo.
PROCESS_GIB = 0.6
CANVASES = 3.0
TILE_BYTES_PER_PIXEL = 40

LEAST_CHUNK_FRAMES = 5


def chunk_memory_gib(pipeline: PatchVSRPipeline, size: tuple[int, int], chunk_frames: int, tile_px: int) -> float:
    """Host memory at its peak, in GiB, for chunks of that many frames at `size` (width, height)."""
    canvas = 3 * 4 * chunk_frames * size[0] * size[1]
    tile = min(tile_px, size[0]) * min(tile_px, size[1]) * chunk_frames * TILE_BYTES_PER_PIXEL
    weights = sum(p.numel() * p.element_size() for p in pipeline.transformer.parameters() if p.device.type == "cpu")
    return PROCESS_GIB + (canvas * CANVASES + tile + weights) / GIB


def free_memory_gib() -> float:
    """Memory that can be used without swapping, in GiB."""
    return psutil.virtual_memory().available / GIB


def fitting_chunk_frames(pipeline: PatchVSRPipeline, size: tuple[int, int], tile_px: int) -> int:
    """17, or the largest 4k+1 below that fits into free memory, 5 at least."""
    free = free_memory_gib()
    for frames in range(CHUNK_FRAMES, LEAST_CHUNK_FRAMES, -4):
        if chunk_memory_gib(pipeline, size, frames, tile_px) <= free:
            return frames
    return LEAST_CHUNK_FRAMES
