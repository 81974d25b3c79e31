"""How fast a model is here: one patch is timed, and what a chunk takes follows from its pixels and patches.

So a calibration is as short for 8K as for 720p, and takes chunks of their true length, by which speed differs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from patchvsr.config import UpscaleConfig
from patchvsr.jobs.clip import restore_clip
from patchvsr.jobs.plan import Chunk
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame
from patchvsr.models.tiles import tiles
from patchvsr.patches.grid import padded_length
from patchvsr.pipeline import PatchVSRPipeline


@dataclass(frozen=True)
class Calibration:
    """pixel_s: seconds of a pixel of a frame, halos of tiles counted as pixels, for all but denoising. patch_s: of a
    patch and step in a chunk of `frames` frames, a quarter of which are latents."""

    pixel_s: float
    patch_s: float
    frames: int

    def seconds(
        self, pipeline: PatchVSRPipeline, config: UpscaleConfig, size: tuple[int, int], chunks: Iterable[Chunk]
    ) -> float:
        """What restoring all these chunks at `size` (width, height) takes."""
        lengths = Counter(_padded(chunk.stop - chunk.start) for chunk in chunks)
        pixels = decoded_pixels(pipeline, size, config.tile_px)
        steps = num_steps(pipeline, config)
        return sum(
            count * (frames * pixels * self.pixel_s + steps * self._step_s(pipeline, config, size, frames))
            for frames, count in lengths.items()
        )

    def _step_s(self, pipeline: PatchVSRPipeline, config: UpscaleConfig, size: tuple[int, int], frames: int) -> float:
        longest = min(self.frames, pipeline.config.patch_frames)
        share = min(1.0, _latents(frames) / _latents(longest))  # of a patch that is shorter than the one timed
        return self.patch_s * share * pipeline.count_patches(frames, size, config.joint_mode)


def calibrate(
    pipeline: PatchVSRPipeline, config: UpscaleConfig, size: tuple[int, int], frame: Frame, chunk_frames: int
) -> Calibration:
    """Restores the middle of a frame as if it were a video of one chunk; `size` (width, height) is that of the job."""
    small, part = _middle(frame, size, pipeline.config.patch_px)

    def timed(count: int, steps: int) -> float:
        settings = replace(config, num_inference_steps=steps)
        started_at = time.monotonic()
        for _ in restore_clip(pipeline, settings, part, [small] * count, pieces=pieces)[0]:
            pass
        return time.monotonic() - started_at

    pieces = Pieces(config.batch_size, config.tile_px)
    steps, count = min(1, num_steps(pipeline, config)), _padded(chunk_frames)
    timed(count, steps)  # first calls are slow
    decoding_s = timed(count, 0)
    step_s = max(0.0, timed(count, 1) - decoding_s) if steps else 0.0
    patches = pipeline.count_patches(count, part, config.joint_mode)
    return Calibration(
        pixel_s=decoding_s / (count * decoded_pixels(pipeline, part, config.tile_px)),
        patch_s=step_s / patches,
        frames=count,
    )


def num_steps(pipeline: PatchVSRPipeline, config: UpscaleConfig) -> int:
    return pipeline.config.num_inference_steps if config.num_inference_steps is None else config.num_inference_steps


def decoded_pixels(pipeline: PatchVSRPipeline, size: tuple[int, int], tile_px: int) -> int:
    """Pixels of a frame that the autoencoder decodes: the canvas, and the halos of its tiles again."""
    autoencoder, (width, height) = pipeline.vae, canvas_size(pipeline, size)
    cut = tiles(height, width, tile_px, autoencoder.decoder_halo_px, autoencoder.spatial_factor)
    return sum((y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in (tile.outer for tile in cut))


def canvas_size(pipeline: PatchVSRPipeline, size: tuple[int, int]) -> tuple[int, int]:
    """`size` (width, height) padded to whole tokens and at least one patch."""
    token = pipeline.transformer.config.patch_size[1] * pipeline.vae.spatial_factor
    width, height = (padded_length(side, pipeline.config.patch_px, token) for side in size)
    return width, height


def _middle(frame: Frame, size: tuple[int, int], patch_px: int) -> tuple[Frame, tuple[int, int]]:
    """The middle of a frame that becomes one patch, or all where that is less; and its size (width, height) then."""
    sides = frame.rgb.shape[1], frame.rgb.shape[0]
    kept = [min(side, max(1, side * patch_px // target)) for side, target in zip(sides, size, strict=True)]
    x, y = ((side - part) // 2 for side, part in zip(sides, kept, strict=True))
    width, height = (max(1, part * target // side) for part, target, side in zip(kept, size, sides, strict=True))
    return replace(frame, rgb=frame.rgb[y : y + kept[1], x : x + kept[0]], alpha=None), (width, height)


def _padded(frames: int) -> int:
    """Clips are padded to 4k+1 frames."""
    return frames + (1 - frames) % 4


def _latents(frames: int) -> int:
    return (frames - 1) // 4 + 1
