"""What patches cost and change: their size and overlap, against attention over whole frames with the same weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from patchvsr.evaluation.studies.clips import StudyClip
from patchvsr.evaluation.studies.restored import METRICS, Row, boxes_of, restore, scores, seam_lines
from patchvsr.evaluation.studies.tiled import with_patches, with_whole_frames
from patchvsr.measures.flicker import change_levels
from patchvsr.patches.grid import Box
from patchvsr.pipeline import PatchVSRPipeline

WHOLE = "whole frame"


def patches(
    pipeline: PatchVSRPipeline,
    clips: Iterable[StudyClip],
    *,
    steps: Sequence[int] = (1,),
    sides_px: Sequence[int] = (256, 384, 512),
    overlaps: Sequence[float] = (0.0, 0.25, 0.5),
    metrics: Sequence[str] = METRICS,
) -> Iterator[Row]:
    """Yield one row per clip, number of steps (1 or more) and tiling: whole frames, then every patch size and overlap.

    A row has the scores, the time of the whole call per frame, and

    - `patch_penalty_levels`: mean absolute difference to whole frames, in 8-bit levels;
    - `disagreement`: spread of the velocities that different patches predict for the same cell at the first step,
      before they are joined, relative to these velocities (root mean squares).
    """
    for clip in clips:
        for count in steps:
            whole: Tensor | None = None
            for name, tiled in _tilings(pipeline, sides_px, overlaps):
                frames, row = _restored(tiled, clip, count, metrics)
                whole = frames if whole is None else whole
                penalty = change_levels(whole, frames)
                yield {"clip": clip.name, "steps": count, **name, "patch_penalty_levels": penalty, **row}


def _tilings(
    pipeline: PatchVSRPipeline, sides_px: Sequence[int], overlaps: Sequence[float]
) -> Iterator[tuple[Row, PatchVSRPipeline]]:
    yield {"patch": WHOLE, "overlap": None}, with_whole_frames(pipeline)
    for side_px in sides_px:
        for overlap in overlaps:
            yield {"patch": f"{side_px} px", "overlap": overlap}, with_patches(pipeline, side_px, overlap)


def _restored(pipeline: PatchVSRPipeline, clip: StudyClip, steps: int, metrics: Sequence[str]) -> tuple[Tensor, Row]:
    """Return frames (F, 3, H, W) and what is measured of them."""
    boxes = boxes_of(pipeline, clip, "overlap")
    lines = seam_lines(boxes, pipeline.vae.geometry.spatial_factor, clip.size)
    with _predictions(pipeline.transformer) as predicted:
        restored = restore(pipeline, clip, steps=steps)
    return restored.frames, {
        "patches": len(boxes),
        **scores(clip, restored.frames, [*metrics, "seams"], lines),
        "disagreement": disagreement([each.box for each in boxes], predicted[: len(boxes)]),
        "seconds_per_frame": restored.seconds / len(clip.lq),
    }


@contextmanager
def _predictions(transformer: Any) -> Iterator[list[Tensor]]:
    """Collect the velocities (C, t, h, w) of every patch that a transformer predicts, in order."""
    predicted: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        predicted.extend(output.sample.detach().cpu())

    handle = transformer.register_forward_hook(keep)
    try:
        yield predicted
    finally:
        handle.remove()


def disagreement(boxes: Sequence[Box], values: Sequence[Tensor]) -> float | None:
    """Return the spread of the values (C, t, h, w) of boxes at cells that several of them cover, relative to them.

    The spread is the standard deviation at a cell. None if no cell is covered twice.
    """
    shape = [max(box.t1 for box in boxes), max(box.y1 for box in boxes), max(box.x1 for box in boxes)]
    count = torch.zeros(shape, dtype=torch.float64)
    total, squares = (torch.zeros(len(values[0]), *shape, dtype=torch.float64) for _ in range(2))
    for box, value in zip(boxes, values, strict=True):
        count[box.slices] += 1
        total[box.slices] += value
        squares[box.slices] += value.double().square()
    shared = count > 1
    if not shared.any():
        return None
    mean_square = squares[:, shared] / count[shared]
    variance = mean_square - (total[:, shared] / count[shared]).square()
    return float((variance.clamp(min=0).mean() / mean_square.mean()).sqrt())
