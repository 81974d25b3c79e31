"""Measure flicker: the change from frame to frame, relative to the bicubic canvas."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

# A hundredth of an 8-bit level, added to both sides of the ratio, so that static video scores 1 instead of 0/0.
EPSILON_LEVELS = 0.01


def change_levels(before: Tensor, after: Tensor) -> float:
    """Return the mean absolute difference of two frames (3, H, W) in [0, 1], in 8-bit levels."""
    return 255 * float((after - before).abs().mean())


def flicker_score(output_changes: Sequence[float], bicubic_changes: Sequence[float]) -> float:
    """Return the mean change of the output over that of the canvas; 1.0 is as steady as bicubic.

    Motion changes both, and moving sharp detail changes more. A faithful result may therefore exceed 1.0, so compare
    settings only on the same material.

    Args:
        output_changes: `change_levels` of pairs of consecutive output frames inside shots, at least one.
        bicubic_changes: the same for the input frames at the same times, resized bicubically to the output size.
    """
    output = sum(output_changes) / len(output_changes)
    bicubic = sum(bicubic_changes) / len(bicubic_changes)
    return (output + EPSILON_LEVELS) / (bicubic + EPSILON_LEVELS)
