"""What denoising steps are worth: quality and time for several numbers of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from patchvsr.evaluation.studies.clips import StudyClip
from patchvsr.evaluation.studies.restored import METRICS, Row, restore, scores
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.resize import resize_bicubic


def steps(
    pipeline: PatchVSRPipeline,
    clips: Iterable[StudyClip],
    *,
    steps: Sequence[int] = (0, 1, 2, 4),
    metrics: Sequence[str] = METRICS,
) -> Iterator[Row]:
    """Yield one row per clip and number of steps, with the scores and the time of the whole call per frame.

    The first row of a clip is the bicubic canvas.
    """
    for clip in clips:
        canvas = resize_bicubic(clip.lq, clip.size)
        yield {"clip": clip.name, "steps": "bicubic", **scores(clip, canvas, metrics)}
        for count in steps:
            restored = restore(pipeline, clip, steps=count)
            row = scores(clip, restored.frames, metrics)
            yield {"clip": clip.name, "steps": count, **row, "seconds_per_frame": restored.seconds / len(clip.lq)}
