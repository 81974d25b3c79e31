"""Restore clips and measure the result: what all studies share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from patchvsr.evaluation.studies.clips import StudyClip
from patchvsr.measures.meter import FrameTriple, Need
from patchvsr.measures.panel import ClipFacts, Panel
from patchvsr.measures.seams import Lines
from patchvsr.models.geometry import clip_length
from patchvsr.patches.grid import WeightedBox, control_lines
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

Row = dict[str, Any]
METRICS = ("psnr", "ssim", "warping")
FRAME_RATE = 24.0
NEEDS: frozenset[Need] = frozenset({"original", "canvas"})


@dataclass(frozen=True)
class Restored:
    """A clip after a pipeline, with the time of the whole call.

    frames: (F, 3, H, W) in [0, 1], rounded to 8 bits.
    velocity: (C, T, h, w) of the whole canvas at the first step, where all is noise; None for 0 steps.
    """

    frames: Tensor
    velocity: Tensor | None
    seconds: float


def restore(pipeline: PatchVSRPipeline, clip: StudyClip, *, steps: int, **settings: Any) -> Restored:
    """Restore a clip with noise of seed 0. `settings` are further arguments of the pipeline's call."""
    velocities: list[Tensor] = []

    def on_step(pipe: PatchVSRPipeline, step: int, _: Any, tensors: dict[str, Tensor]) -> None:
        if step == 0:
            before, after = pipe.scheduler.sigmas[:2].tolist()
            latents = tensors["latents"]  # (C, T, h, w), after one Euler step
            velocities.append((latents - pipe.latent_noise(0, 0, latents.shape[1:])) / (after - before))

    started_at = time.perf_counter()
    restored = pipeline(
        clip.lq, size=clip.size, num_inference_steps=steps, seed=0, callback_on_step_end=on_step, **settings
    )
    seconds = time.perf_counter() - started_at
    assert not isinstance(restored, tuple) and isinstance(restored.frames, Tensor)
    frames = restored.frames.mul(255).round_().div_(255)
    return Restored(frames, velocities[0] if velocities else None, seconds)


def scores(clip: StudyClip, frames: Tensor, metrics: Sequence[str], lines: tuple[Lines, Lines] | None = None) -> Row:
    """Return the scores of restored frames (F, 3, H, W) by name.

    metrics: names of meters. lines: patch lines and control lines, for seams.
    """
    panel = Panel(metrics, ClipFacts(FRAME_RATE, lines=lines), NEEDS)
    for output, original, lq in zip(frames, clip.original, clip.lq, strict=True):
        canvas = resize_bicubic(lq[None], clip.size)[0].mul_(255).round_().div_(255)
        panel.update(FrameTriple(output, original, canvas))
    return panel.result()


def boxes_of(pipeline: PatchVSRPipeline, clip: StudyClip, joint_mode: str, step: int = 0) -> tuple[WeightedBox, ...]:
    """Return the boxes of all patches of a clip at one step, in latent cells."""
    canvas = pipeline.padded_size(clip.size)
    shape = pipeline.vae.geometry.latent_shape(clip_length(len(clip.lq)), canvas.height, canvas.width)
    return pipeline.boxes(shape, joint_mode, step)


def seam_lines(boxes: Iterable[WeightedBox], cell_px: int, size: Size) -> tuple[Lines, Lines]:
    """Return the rows and columns in pixels where a patch ends inside a frame of `size`, and the control lines."""
    rows = {y for each in boxes for y in (each.box.y0, each.box.y1)}
    columns = {x for each in boxes for x in (each.box.x0, each.box.x1)}
    at = _inside(rows, cell_px, size.height), _inside(columns, cell_px, size.width)
    return at, control_lines(size, cell_px, at)


def _inside(cells: set[int], cell_px: int, side: int) -> list[int]:
    return sorted(cell * cell_px for cell in cells if 0 < cell * cell_px < side)
