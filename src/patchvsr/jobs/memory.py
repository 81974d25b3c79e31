"""Estimate the memory for restoring a chunk, and choose the chunk length that fits."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import psutil

from patchvsr.errors import SettingsError
from patchvsr.jobs.calibrate import tile_pixels
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.sampling.velocity import KEPT_BYTES
from patchvsr.settings import CHUNK_FRAMES, ResolvedSettings

GIB = 2**30

# Fitted to whole jobs of the bundled model on a CPU (docs/experiments.md), some percent above the mean.
# PROCESS_GIB: the process with its libraries.
# CANVASES: float32 canvases of the frames that are decoded at once.
# ENCODER_BYTES: the encoder, the frames queued for it and the check of each, per pixel of one frame.
# STEP_BYTES: conditions, per pixel and frame.
# DIMS, FFN_DIMS: activations of a patch, in vectors of the transformer's width and its feed-forward width per token,
#   fitted to one step of Wan2.1-1.3B (benchmarks/bases.py).
# KEPT_FACTOR: what a CPU keeps of freed blocks between the parts of a job with a Wan base; fitted to one job of
#   Wan2.1-1.3B at 1024x1024.
# What autoencoders take is theirs, see `Autoencoder`.
PROCESS_GIB = 0.7
CANVASES = 3.3
ENCODER_BYTES = 90
STEP_BYTES = 3.5
DIMS, FFN_DIMS = 20, 4
KEPT_FACTOR = 1.4

LEAST_CHUNK_FRAMES = 5


class Memory(NamedTuple):
    """Peak memory in GiB: of the host, and of a device that holds the weights (0 if the host holds them)."""

    host_gib: float
    device_gib: float


def chunk_memory(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings, chunk_frames: int) -> Memory:
    """Return the peak memory for chunks of `chunk_frames` frames at `size`. Fitted on CPUs, computed for others."""
    padded = pipeline.padded_size(size)
    at_once = 1 if pipeline.vae.streaming else chunk_frames
    host = PROCESS_GIB + 3 * 4 * at_once * padded.width * padded.height * CANVASES / GIB
    host += size.width * size.height * ENCODER_BYTES / GIB
    pixels = tile_pixels(pipeline, size, settings.tile_px, pipeline.vae.decoder_halo_px)
    of_tile, of_state = pipeline.vae.decoding_bytes(with_latents=settings.num_inference_steps > 0)
    decoding = max(pixels) * of_tile + sum(pixels) * of_state
    weights, working = _weights_gib(pipeline.vae), decoding * pipeline.dtype.itemsize / 2 / GIB
    if settings.num_inference_steps:
        host += STEP_BYTES * chunk_frames * padded.width * padded.height / GIB
        host += _kept_features(pipeline, size, settings, chunk_frames) / GIB
        encoding = _encoding_bytes(pipeline, size, settings)
        working = max(working, encoding / GIB, _step_bytes(pipeline, settings.batch_size) / GIB)
        if settings.cpu_offload:
            host += _weights_gib(pipeline.transformer)
        else:
            weights += _weights_gib(pipeline.transformer)
    if pipeline.device.type != "cpu":
        return Memory(host, weights + working)
    return Memory(host + weights + working * (1 if pipeline.vae.streaming else KEPT_FACTOR), 0.0)


def free_memory_gib() -> float:
    """Return the memory that can be used without swapping, in GiB."""
    return psutil.virtual_memory().available / GIB


def usable_memory_gib() -> float:
    """Return the free memory and what this process holds already (libraries and weights), a part of its peak."""
    return free_memory_gib() + psutil.Process().memory_info().rss / GIB


def choose_chunk_frames(
    pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings, usable_gib: float | None = None
) -> int:
    """Return the chunk length: as set, else the largest 4k+1 up to 17 that fits into the host's memory.

    It is at least 5 and exceeds the overlap of chunks. It shapes the output, so a job records it in its manifest.

    usable_gib: see `usable_memory_gib`, by which it is measured now if it is not given.

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
    usable = usable_memory_gib() if usable_gib is None else usable_gib
    for frames in range(min(CHUNK_FRAMES, most or CHUNK_FRAMES), least, -4):
        if chunk_memory(pipeline, size, settings, frames).host_gib <= usable:
            return frames
    return least


def _encoding_bytes(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings) -> float:
    """Return what encoding a tile of the conditions takes."""
    pixels = tile_pixels(pipeline, size, pipeline.encoder_tile_px(settings), pipeline.vae.encoder_halo_px)
    return max(pixels) * pipeline.vae.encoder_tile_bytes * pipeline.dtype.itemsize / 2


def _step_bytes(pipeline: PatchVSRPipeline, batch_size: int) -> float:
    """Return what one call of the transformer takes in addition to its weights, and what is kept of the prompt."""
    config = pipeline.transformer.config
    dim = config.num_attention_heads * config.attention_head_dim
    activations = batch_size * _tokens(pipeline) * (DIMS * dim + FFN_DIMS * config.ffn_dim)
    keys_and_values = 2 * config.num_layers * config.prompt_length * dim
    return (activations + keys_and_values) * pipeline.dtype.itemsize


def _kept_features(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings, chunk_frames: int) -> float:
    """Return the bytes of branch features that are kept from step to step."""
    config = pipeline.transformer.config
    if settings.num_inference_steps < 2 or not pipeline.transformer.has_adapter:
        return 0.0
    layers = config.num_branch_blocks + 0.25  # and tokens of the global view, a quarter as many
    of_patch = layers * _tokens(pipeline) * config.num_attention_heads * config.attention_head_dim
    patches = pipeline.count_patches(chunk_frames, size, settings.joint_mode)
    return min(KEPT_BYTES, patches * of_patch * pipeline.dtype.itemsize)


def _tokens(pipeline: PatchVSRPipeline) -> int:
    """Return the number of tokens of a patch."""
    side = pipeline.config.patch_px
    cells = pipeline.vae.geometry.latent_shape(pipeline.config.patch_frames, side, side)
    return prod(cells) // prod(pipeline.transformer.config.patch_size)


def _weights_gib(part: Any) -> float:
    return sum(parameter.numel() * parameter.element_size() for parameter in part.parameters()) / GIB
