"""A file in, a larger file out: reads, restores and writes chunk by chunk, yielding what happens.

The command line, tests and other programs consume the same generator. Closing it early leaves no output.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.utils.logging import disable_progress_bar
from torch import Tensor

from patchvsr.allocator import keep_freed_memory
from patchvsr.config import UpscaleConfig
from patchvsr.errors import InputError, SettingsError
from patchvsr.media import Frame, VideoInfo, open_reader, open_writer
from patchvsr.pipeline import PatchVSRPipeline


@dataclass(frozen=True)
class Started:
    """Sizes in pixels; `num_frames` is the container's word, or None, and only good for a progress bar."""

    input: str
    output: str
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    num_frames: int | None
    skipped_streams: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """Frames written so far."""

    frames: int


@dataclass(frozen=True)
class Finished:
    """The output is complete: as many frames as were read, counted at both ends."""

    output: str
    frames: int
    seconds: float


Event = Started | Progress | Finished


def load_pipeline(config: UpscaleConfig) -> PatchVSRPipeline:
    """The model that `config` names, on its device in its dtype, ready for `upscale`."""
    torch.set_flush_denormal(True)
    keep_freed_memory()
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"device {device!r} cannot be used: {reason}") from None
    dtype = getattr(torch, config.dtype or "bfloat16")
    disable_progress_bar()  # events say what happens; diffusers' own bar of two parts says nothing
    pipeline = PatchVSRPipeline.from_pretrained(config.model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def upscale(
    input_path: str | Path,
    output_path: str | Path,
    config: UpscaleConfig | None = None,
    *,
    pipeline: PatchVSRPipeline | None = None,
) -> Iterator[Event]:
    """Upscales a video file, or a folder of PNGs, into `output_path`; nothing happens until it is iterated.

    `pipeline` may be given to use one loaded model for several files. Raises `PatchVSRError` with one clear line for
    what a user can mend; the output appears under its name only when it is complete.
    """
    config = config or UpscaleConfig()
    started_at = time.monotonic()
    with open_reader(input_path, start_s=config.start_s, end_s=config.end_s) as reader:
        info: VideoInfo = reader.info
        size = config.output_size(info.width, info.height)
        with open_writer(
            output_path,
            source=info,
            width=size[0],
            height=size[1],
            settings=config.encode_settings(),
            overwrite=config.overwrite,
            start_s=config.start_s,
            end_s=config.end_s,
            skip_streams=config.skip_streams,
        ) as writer:
            skipped = tuple(str(stream) for stream in writer.skipped_streams)
            num_frames = _expected_frames(info, config)
            yield Started(str(input_path), str(output_path), (info.width, info.height), size, num_frames, skipped)
            pipeline = pipeline or load_pipeline(config)
            frames_read = 0
            for chunk in _chunks(reader, config.chunk_frames, config.overlap_frames):
                for frame in _restore(pipeline, chunk, size, config):
                    writer.write(frame)
                frames_read = chunk.first_frame + len(chunk.frames)
                yield Progress(writer.frames_written)
            if writer.frames_written != frames_read:  # in here, so that the output does not appear
                raise InputError(
                    f"{frames_read} frames were read but {writer.frames_written} written: please report this"
                )
    yield Finished(str(output_path), writer.frames_written, time.monotonic() - started_at)


@dataclass
class _Chunk:
    """Consecutive frames; the first `shared` were in the chunk before and `known` are their latents."""

    first_frame: int
    frames: list[Frame]
    shared: int
    known: Tensor | None


def _chunks(frames: Iterator[Frame], length: int, overlap: int) -> Iterator[_Chunk]:
    """Cuts the stream into chunks that share `overlap` frames; hands latents on from one to the next."""
    chunk = _Chunk(0, [], 0, None)
    for frame in frames:
        chunk.frames.append(frame)
        if len(chunk.frames) == length:
            yield chunk
            # `_restore` has left the chunk's latents in `known`: those of the shared frames go on.
            known = None if chunk.known is None else chunk.known[:, -((overlap - 1) // 4 + 1) :]
            chunk = _Chunk(chunk.first_frame + length - overlap, chunk.frames[-overlap:], overlap, known)
    if len(chunk.frames) > chunk.shared:
        yield chunk


def _restore(
    pipeline: PatchVSRPipeline, chunk: _Chunk, size: tuple[int, int], config: UpscaleConfig
) -> Iterator[Frame]:
    depth = float(np.iinfo(chunk.frames[0].rgb.dtype).max)
    lq = torch.from_numpy(np.stack([frame.rgb for frame in chunk.frames])).permute(0, 3, 1, 2).float().div_(depth)
    hq, chunk.known = pipeline(
        lq,
        size=size,
        num_inference_steps=config.num_inference_steps,
        joint_mode=config.joint_mode,
        seed=config.seed,
        noise_timestep=config.noise_timestep,
        branch_scale=config.branch_scale,
        batch_size=config.batch_size,
        tile_px=config.tile_px,
        first_frame=chunk.first_frame,
        known_latents=chunk.known,
        return_dict=False,
    )
    for frame, restored in zip(chunk.frames[chunk.shared :], hq[chunk.shared :], strict=True):
        rgb = restored.mul(depth).round_().permute(1, 2, 0).numpy().astype(frame.rgb.dtype)
        yield Frame(rgb=rgb, pts=frame.pts, duration=frame.duration, time_base=frame.time_base)


def _expected_frames(info: VideoInfo, config: UpscaleConfig) -> int | None:
    """For the progress bar alone."""
    if config.start_s is None and config.end_s is None:
        return info.declared_frames
    if info.average_rate is None or (config.end_s is None and info.duration_s is None):
        return None
    end = min(x for x in (config.end_s, info.duration_s) if x is not None)
    return max(0, round((end - (config.start_s or 0)) * float(info.average_rate))) or None
