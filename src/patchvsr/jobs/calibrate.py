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

    pixel_s: seconds per decoded pixel, tile halos included, for everything except denoising.
    patch_s: seconds per patch and denoising step in a chunk of `frames` frames.
    frames: length of the timed chunk, 4k+1 frames (k+1 latent frames).
    """

    pixel_s: float
    patch_s: float
    frames: int

    def seconds(
        self, pipeline: PatchVSRPipeline, settings: ResolvedSettings, size: Size, chunks: Iterable[Chunk]
    ) -> float:
        """Return the seconds that restoring these chunks at `size` takes."""
        lengths = Counter(clip_length(chunk.stop - chunk.start) for chunk in chunks)
        pixels = decoded_pixels(pipeline, size, settings.tile_px)
        steps = settings.num_inference_steps
        return sum(
            count * (frames * pixels * self.pixel_s + steps * self._step_s(pipeline, settings, size, frames))
            for frames, count in lengths.items()
        )

    def _step_s(self, pipeline: PatchVSRPipeline, settings: ResolvedSettings, size: Size, frames: int) -> float:
        longest = min(self.frames, pipeline.config.patch_frames)
        share = min(1.0, latent_frames(frames) / latent_frames(longest))  # proportional to a patch's length
        return self.patch_s * share * pipeline.count_patches(frames, size, settings.joint_mode)


def calibrate(
    pipeline: PatchVSRPipeline, settings: ResolvedSettings, size: Size, frame: Frame, chunk_frames: int
) -> Calibration:
    """Measure the speed on the middle of `frame`, repeated as a video of one chunk. `size` is the job's output size."""
    small, part = _middle(frame, size, pipeline.config.patch_px)

    def timed(count: int, steps: int) -> float:
        fewer = replace(settings, num_inference_steps=steps)
        started_at = time.monotonic()

        def restored() -> Generator[Frame]:
            yield from RestoredClip(pipeline, pieces.applied_to(fewer), part, [small] * count)

        for _ in pieces.retried(restored):
            pass
        return time.monotonic() - started_at

    pieces = Pieces(settings.batch_size, settings.tile_px)
    steps, count = min(1, settings.num_inference_steps), clip_length(chunk_frames)
    timed(count, steps)  # warm-up: first calls are slow
    decoding_s = timed(count, 0)
    step_s = max(0.0, timed(count, 1) - decoding_s) if steps else 0.0
    patches = pipeline.count_patches(count, part, settings.joint_mode)
    return Calibration(
        pixel_s=decoding_s / (count * decoded_pixels(pipeline, part, settings.tile_px)),
        patch_s=step_s / patches if patches else 0.0,
        frames=count,
    )


def decoded_pixels(pipeline: PatchVSRPipeline, size: Size, tile_px: int) -> int:
    """Return the number of pixels that the autoencoder decodes per frame: the canvas plus the halos of its tiles."""
    return sum(tile_pixels(pipeline, size, tile_px, pipeline.vae.decoder_halo_px))


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
