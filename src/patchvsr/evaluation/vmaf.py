"""VMAF of a video that never has to be in memory as a whole.

vmaf-torch scores a clip given as one tensor. Only its motion feature looks across frames: it is the smaller
one of the differences to the previous and to the next original frame. So the features of a frame are computed
when it arrives, with the frame before it kept, and the regression runs once at the end.
"""

import torch
from torch import Tensor

from patchvsr.evaluation.extras import require


class VmafMeter:
    """VMAF v0.6.1 and VMAF-NEG, frame by frame: two frames and 44 bytes per frame seen are kept.

    The models are part of the vmaf-torch package, nothing is downloaded. Per-frame scores are clipped to
    [0, 100] as libvmaf does. The first frame has no motion: even a perfect copy scores 97.4 there, and so
    does every frame of a still picture.
    """

    def __init__(self) -> None:
        vmaf_torch = require("vmaf_torch", extra="eval")
        self._models = {
            "vmaf": vmaf_torch.VMAF(clip_score=True),
            "vmaf_neg": vmaf_torch.VMAF(clip_score=True, NEG=True),
        }
        self._previous: Tensor | None = None
        self._motion: list[Tensor] = []  # difference to the previous original frame, (1, 1) each
        self._features: dict[str, list[Tensor]] = {name: [] for name in self._models}  # (1, 5) each

    @torch.no_grad()
    def update(self, pred_y: Tensor, target_y: Tensor) -> None:
        """Add one frame: 8-bit luma of the restored and of the original frame, (1, 1, H, W) in 0..255."""
        previous = target_y if self._previous is None else self._previous
        for name, model in self._models.items():
            model.to(target_y.device)
            adm = model.compute_adm_score(target_y, pred_y)  # (1, 1)
            vif = model.compute_vif_features(target_y, pred_y)  # (1, 4)
            self._features[name].append(torch.cat([adm, vif], dim=1).cpu())
        pair = torch.cat([previous, target_y])  # (2, 1, H, W)
        self._motion.append(self._models["vmaf"].compute_motion(pair)[1:].cpu())
        self._previous = target_y

    @torch.no_grad()
    def result(self) -> dict[str, float]:
        """Mean score over the frames seen, for each model."""
        motion = torch.cat(self._motion)  # (F, 1)
        motion2 = torch.cat([torch.minimum(motion[:-1], motion[1:]), motion[-1:]])
        scores = {}
        for name, model in self._models.items():
            features = torch.cat(self._features[name])  # (F, 5)
            scores[name] = float(model.cpu().predict(features[:, :1], motion2, features[:, 1:]).mean())
        return scores
