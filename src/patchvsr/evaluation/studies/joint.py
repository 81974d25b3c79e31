"""What joint denoising is worth: every joint mode, with seams at patch lines against seams where no patch ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from patchvsr.evaluation.studies.clips import StudyClip
from patchvsr.evaluation.studies.restored import METRICS, Row, boxes_of, restore, scores, seam_lines
from patchvsr.patches.windows import MODES
from patchvsr.pipeline import PatchVSRPipeline


def joint(
    pipeline: PatchVSRPipeline,
    clips: Iterable[StudyClip],
    *,
    steps: Sequence[int] = (1,),
    modes: Sequence[str] = MODES,
    metrics: Sequence[str] = METRICS,
) -> Iterator[Row]:
    """Yield one row per clip, joint mode and number of steps (1 or more).

    A row has the scores, among them `seam_ratio` (1 is no seam, whatever the material) and `worst_seam`, and the time
    of the whole call per frame.
    """
    cell_px = pipeline.vae.geometry.spatial_factor
    for clip in clips:
        for mode in modes:
            for count in steps:
                boxes = [box for step in range(count) for box in boxes_of(pipeline, clip, mode, step)]
                lines = seam_lines(boxes, cell_px, clip.size)
                restored = restore(pipeline, clip, steps=count, joint_mode=mode)
                yield {
                    "clip": clip.name,
                    "mode": mode,
                    "steps": count,
                    **scores(clip, restored.frames, [*metrics, "seams"], lines),
                    "seconds_per_frame": restored.seconds / len(clip.lq),
                }
