"""Compute VMAF of a video frame by frame, in constant memory.

vmaf-torch scores a clip given as one tensor. Only its motion feature looks across frames: it is the smaller of the
differences to the previous and to the next original frame. So each frame is scored when the next one arrives, and the
last one with its only difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from patchvsr.extras import require
from patchvsr.measures.luma import luma
from patchvsr.measures.meter import FrameTriple, Need, Score


class VmafMeter:
    """VMAF v0.6.1 and VMAF-NEG of the BT.709 luma plane, rounded to 8 bits, as a player would show it.

    The models are part of the vmaf-torch package; nothing is downloaded. Per-frame scores are clipped to [0, 100] as
    libvmaf does. The first frame has no motion: even a perfect copy scores 97.4 there, as does every frame of a still
    picture.
    """

    scores = (
        Score("vmaf", "VMAF", "", "higher", 1, "VMAF v0.6.1, rewards sharpening"),
        Score("vmaf_neg", "VMAF-NEG", "", "higher", 1, "VMAF v0.6.1 without credit for enhancement"),
    )
    needs: frozenset[Need] = frozenset({"original"})
    every_frame = True

    def __init__(self) -> None:
        vmaf_torch = require("vmaf_torch", extra="eval")
        self._models = {
            "vmaf": vmaf_torch.VMAF(clip_score=True),
            "vmaf_neg": vmaf_torch.VMAF(clip_score=True, NEG=True),
        }
        self._scored: list[dict[str, float]] = []
        self._original: Tensor | None = None  # the frame that is not scored yet, (1, 1, H, W)
        self._motion = torch.zeros(1, 1)  # its difference to the previous frame
        self._features: dict[str, tuple[Tensor, Tensor]] = {}  # its ADM (1, 1) and VIF (1, 4), per model

    @torch.no_grad()
    def update(self, frame: FrameTriple) -> None:
        assert frame.original is not None
        output, original = (luma(rgb[None], "bt709").round() for rgb in (frame.output, frame.original))
        motion = torch.zeros(1, 1)
        if self._original is not None:
            motion = self._models["vmaf"].compute_motion(torch.cat([self._original, original]))[1:]
            self._scored.append(self._score_waiting(torch.minimum(self._motion, motion)))
        self._original, self._motion = original, motion
        for name, model in self._models.items():
            adm = model.compute_adm_score(original, output)
            self._features[name] = adm, model.compute_vif_features(original, output)

    def per_frame(self) -> Mapping[str, Sequence[float | None]]:
        scored = [*self._scored, self._score_waiting(self._motion)] if self._original is not None else []
        return {name: [scores[name] for scores in scored] for name in self._models}

    def result(self) -> Mapping[str, float]:
        return {name: fmean([v for v in values if v is not None]) for name, values in self.per_frame().items()}

    @torch.no_grad()
    def _score_waiting(self, motion: Tensor) -> dict[str, float]:
        """Score the frame that is not scored yet."""
        return {
            name: float(model.predict(self._features[name][0], motion, self._features[name][1]))
            for name, model in self._models.items()
        }
