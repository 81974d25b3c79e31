"""Compute VMAF of a video frame by frame, in constant memory.

vmaf-torch scores a clip given as one tensor. Only its motion feature looks across frames: it is the smaller of the
differences to the previous and to the next original frame. So each frame is scored when the next one arrives, and the
last one with its only difference.
"""

import torch
from torch import Tensor

from patchvsr.extras import require


class VmafMeter:
    """Accumulate VMAF v0.6.1 and VMAF-NEG frame by frame, holding at most two frames.

    The models are part of the vmaf-torch package; nothing is downloaded. Per-frame scores are clipped to [0, 100] as
    libvmaf does. The first frame has no motion: even a perfect copy scores 97.4 there, as does every frame of a still
    picture.
    """

    def __init__(self) -> None:
        vmaf_torch = require("vmaf_torch", extra="eval")
        self._models = {
            "vmaf": vmaf_torch.VMAF(clip_score=True),
            "vmaf_neg": vmaf_torch.VMAF(clip_score=True, NEG=True),
        }
        self._sums = dict.fromkeys(self._models, 0.0)
        self._frames = 0
        self._original: Tensor | None = None  # the frame that is not scored yet, (1, 1, H, W)
        self._motion = torch.zeros(1, 1)  # its difference to the previous frame
        self._features: dict[str, tuple[Tensor, Tensor]] = {}  # its ADM (1, 1) and VIF (1, 4), per model

    @torch.no_grad()
    def update(self, pred_y: Tensor, target_y: Tensor) -> None:
        """Add one frame: 8-bit luma of the restored and of the original frame, (1, 1, H, W) in [0, 255]."""
        motion = torch.zeros(1, 1, device=target_y.device)
        if self._original is not None:
            pair = torch.cat([self._original, target_y])  # (2, 1, H, W)
            motion = self._models["vmaf"].compute_motion(pair)[1:]
            self._sums = self._sums_with_waiting(torch.minimum(self._motion, motion))
        self._original, self._motion = target_y, motion
        self._frames += 1
        for name, model in self._models.items():
            model.to(target_y.device)
            adm = model.compute_adm_score(target_y, pred_y)
            self._features[name] = adm, model.compute_vif_features(target_y, pred_y)

    def _sums_with_waiting(self, motion: Tensor) -> dict[str, float]:
        """Return the sums of scores, including the frame that is not scored yet."""
        sums = {}
        for name, model in self._models.items():
            adm, vif = self._features[name]
            sums[name] = self._sums[name] + float(model.predict(adm, motion, vif))
        return sums

    @torch.no_grad()
    def result(self) -> dict[str, float]:
        """Return the mean score of each model over all frames so far, at least one."""
        return {name: total / self._frames for name, total in self._sums_with_waiting(self._motion).items()}
