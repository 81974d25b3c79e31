"""Measure how fast a model is on this machine by timing one patch.

The time of a chunk follows from its pixels and patches, so calibrating takes no longer for 8K than for 720p. The timed
clip has the job's chunk length, because speed depends on it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

from patchvsr.jobs.clip import RestoredClip
from patchvsr.jobs.plan import Chunk
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import Frame
from patchvsr.models.geometry import clip_length, latent_frames
from patchvsr.models.tiles import tiles
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings


@dataclass(frozen=True)
class Calibration:
    """Measured speed of a model.

    encoded_pixel_s: seconds per pixel of the conditions, tile halos included, that are made once before all steps.
    decoded_pixel_s: seconds per decoded pixel, tile halos included, for all that follows the steps.
    patch_s: seconds per patch and denoising step in a chunk of `frames` frames.
    frames: length of the timed chunk, 4k+1 frames (k+1 latent frames).
    """

    encoded_pixel_s: float
    decoded_pixel_s: float
    patch_s: float
    frames: int

    def seconds(
        self, pipeline: PatchVSRPipeline, settings: ResolvedSettings, size: Size, chunks: Iterable[Chunk]
    ) -> float:
        """Return the seconds that restoring these chunks at `size` takes."""
        lengths = Counter(clip_length(chunk.stop - chunk.start) for chunk in chunks)
        steps, coarse = settings.num_inference_steps, pipeline.has_coarse_pass(settings, size)
        decoded, encoded = decoded_pixels(pipeline, size, settings), 0
        if steps:
            encoded = encoded_pixels(pipeline, size, settings)
        if coarse:  # the global view is decoded before and after, and the canvas encoded once more
            view = pipeline.config.patch_px**2
            decoded, encoded = decoded + 2 * view, 2 * encoded - view
        frame_s = decoded * self.decoded_pixel_s + encoded * self.encoded_pixel_s
        return sum(
            count * (frames * frame_s + steps * self._step_s(pipeline, settings, size, frames))
            for frames, count in lengths.items()
        )

    def _step_s(self, pipeline: PatchVSRPipeline, settings: ResolvedSettings, size: Size, frames: int) -> float:
        longest = min(self.frames, pipeline.config.patch_frames)
        share = min(1.0, latent_frames(frames) / latent_frames(longest))  # proportional to a patch's length
        patches = pipeline.count_patches(frames, size, settings.joint_mode)
        if pipeline.has_coarse_pass(settings, size):
            view = Size(pipeline.config.patch_px, pipeline.config.patch_px)
            patches += pipeline.count_patches(frames, view, "independent")
        return self.patch_s * share * patches


def calibrate(
    pipeline: PatchVSRPipeline, settings: ResolvedSettings, size: Size, frame: Frame, chunk_frames: int
) -> Calibration:
    """Measure the speed on the middle of `frame`, repeated as a video of one chunk. `size` is the job's output size."""
    small, part = _middle(frame, size, pipeline.config.patch_px)

    def timed(steps: int, *, decoded: bool = True) -> tuple[float, float]:
        """Return the seconds of denoising with what comes before it, and those of decoding."""
        fewer, stages = replace(settings, num_inference_steps=steps), [0.0, 0.0]

        def restored() -> Generator[Frame]:
            stages[0] = time.monotonic()
            clip = RestoredClip(pipeline, pieces.applied_to(fewer), part, [small] * count)
            stages[1] = time.monotonic()
            if decoded:
                yield from clip

        for _ in pieces.retried(restored):
            pass
        started_at, denoised_at = stages
        return denoised_at - started_at, time.monotonic() - denoised_at

    pieces = Pieces(settings.batch_size, settings.tile_px)
    steps, count = min(1, settings.num_inference_steps), clip_length(chunk_frames)
    timed(steps)  # warm-up: first calls are slow
    denoising_s, decoding_s = timed(steps)
    # A second step takes what every step takes; the rest of the first was for the conditions.
    step_s = max(0.0, timed(2, decoded=False)[0] - denoising_s) if steps else 0.0
    patches = pipeline.count_patches(count, part, settings.joint_mode)
    return Calibration(
        encoded_pixel_s=max(0.0, denoising_s - step_s) / (count * encoded_pixels(pipeline, part, settings)),
        decoded_pixel_s=decoding_s / (count * decoded_pixels(pipeline, part, settings)),
        patch_s=step_s / patches if patches else 0.0,
        frames=count,
    )


def encoded_pixels(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings) -> int:
    """Return the number of pixels that the autoencoder encodes per frame: canvas, halos of tiles, and global view."""
    tile_px, halo_px = pipeline.encoder_tile_px(settings), pipeline.vae.encoder_halo_px
    return sum(tile_pixels(pipeline, size, tile_px, halo_px)) + pipeline.config.patch_px**2


def decoded_pixels(pipeline: PatchVSRPipeline, size: Size, settings: ResolvedSettings) -> int:
    """Return the number of pixels that the autoencoder decodes per frame: the canvas plus the halos of its tiles."""
    return sum(tile_pixels(pipeline, size, settings.tile_px, pipeline.vae.decoder_halo_px))


def tile_pixels(pipeline: PatchVSRPipeline, size: Size, tile_px: int, halo_px: int) -> list[int]:
    """Return the number of pixels per frame of every tile of a canvas, halos included."""
    width, height = pipeline.padded_size(size)
    cut = tiles(height, width, tile_px, halo_px, pipeline.vae.geometry.spatial_factor)
    return [(y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in (tile.outer for tile in cut)]


def _middle(frame: Frame, size: Size, patch_px: int) -> tuple[Frame, Size]:
    """Return the part in the middle of a frame that becomes one patch (at most the whole), and its output size."""
    sides = frame.rgb.shape[1], frame.rgb.shape[0]
    kept = [min(side, max(1, side * patch_px // target)) for side, target in zip(sides, size, strict=True)]
    x, y = ((side - part) // 2 for side, part in zip(sides, kept, strict=True))
    width, height = (max(1, part * target // side) for part, target, side in zip(kept, size, sides, strict=True))
    return replace(frame, rgb=frame.rgb[y : y + kept[1], x : x + kept[0]], alpha=None), Size(width, height)
