"""Does a result flicker? How much it changes from frame to frame, measured against the bicubic canvas."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

# A hundredth of an 8-bit level. Added to both sides of the ratio: where nothing changes at all the score is 1, not 0/0.
EPSILON_LEVELS = 0.01


def change_levels(before: Tensor, after: Tensor) -> float:
    """Mean absolute difference of two frames (3, H, W) in [0, 1], in 8-bit levels."""
    return 255 * float((after - before).abs().mean())


def flicker_score(output_changes: Sequence[float], bicubic_changes: Sequence[float]) -> float:
    """Mean change of the output over the mean change of the canvas; 1.0 is as steady as bicubic.

    What moves changes both. Sharp detail changes more where it moves, so 1.0 is no bound for a faithful result either:
    compare settings on the same material.

    Args:
        output_changes: `change_levels` of pairs of consecutive output frames inside shots, at least one.
        bicubic_changes: the same of the input's frames at the same times, resized with bicubic to the output's size.
    """
    output = sum(output_changes) / len(output_changes)
    bicubic = sum(bicubic_changes) / len(bicubic_changes)
    return (output + EPSILON_LEVELS) / (bicubic + EPSILON_LEVELS)
