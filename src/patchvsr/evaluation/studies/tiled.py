"""Give a pipeline other patches than its own, up to one that is the whole frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from patchvsr.models.geometry import latent_frames
from patchvsr.patches.grid import WeightedBox, tiling
from patchvsr.pipeline import PatchVSRPipeline

Boxes = Callable[[Sequence[int], str, int], tuple[WeightedBox, ...]]


def with_patches(pipeline: PatchVSRPipeline, side_px: int, overlap: float) -> PatchVSRPipeline:
    """Return the pipeline with patches of `side_px` that share at least `overlap` with their neighbours and blend.

    The global view and the patches' length in time stay as they are, and so do all weights, which are shared.
    """
    side = side_px // pipeline.vae.geometry.spatial_factor

    def boxes(shape: Sequence[int], joint_mode: str, step: int = 0) -> tuple[WeightedBox, ...]:
        patch = _length(pipeline, shape), min(side, shape[1]), min(side, shape[2])
        return tiling(shape, patch, "overlap", multiple=pipeline.transformer.config.patch_size, overlap=overlap)

    return _with_boxes(pipeline, boxes)


def with_whole_frames(pipeline: PatchVSRPipeline) -> PatchVSRPipeline:
    """Return the pipeline with a single patch in space: attention over whole frames, with the same weights."""

    def boxes(shape: Sequence[int], joint_mode: str, step: int = 0) -> tuple[WeightedBox, ...]:
        patch = _length(pipeline, shape), shape[1], shape[2]
        extend_positions(pipeline.transformer, shape)
        return tiling(shape, patch, "independent", multiple=pipeline.transformer.config.patch_size)

    return _with_boxes(pipeline, boxes)


def extend_positions(transformer: object, shape: Sequence[int]) -> None:
    """Let a transformer number the tokens of latents of `shape` (T, h, w). Positions that it has stay as they are."""
    rope: WanRotaryPosEmbed = transformer.rope  # type: ignore[attr-defined]
    needed = max(-(-length // token) for length, token in zip(shape, rope.patch_size, strict=True))
    if needed > rope.max_seq_len:
        longer = WanRotaryPosEmbed(rope.attention_head_dim, rope.patch_size, needed)
        transformer.rope = longer.to(rope.freqs_cos)  # type: ignore[attr-defined]


def _with_boxes(pipeline: PatchVSRPipeline, boxes: Boxes) -> PatchVSRPipeline:
    changed = copy(pipeline)
    changed.boxes = boxes  # type: ignore[method-assign, assignment]
    return changed


def _length(pipeline: PatchVSRPipeline, shape: Sequence[int]) -> int:
    return min(shape[0], latent_frames(pipeline.config.patch_frames))
