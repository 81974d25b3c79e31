"""Discriminators, with the losses of generator and discriminator computed in one step.

runs        a patch discriminator of runs of frames, trained from scratch
features    heads on what a frozen classifier sees in single frames (Sauer et al., "Projected GANs Converge Faster")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from patchvsr.training.perceptual import features_of

RUN_FRAMES = 3  # of a run that is judged at once; a shorter clip repeats its last frame
# Of the classifier: channels at each stride, and about the deviation of all of them on photos.
FEATURE_CHANNELS, FEATURE_DEVIATION = (16, 24, 40), 6.0


class Verdict(NamedTuple):
    """What a discriminator says: its scores, and features of its own to compare."""

    scores: list[Tensor]
    features: list[Tensor]


class RunDiscriminator(nn.Module):
    """Score runs of frames, with the canvas of their middle frame, per patch of about 60 pixels (PatchGAN).

    Runs, so that detail that does not move with the scene gives itself away. Conditioning on the canvas makes it judge
    the added detail, not the scene.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        first, *others = width, 2 * width, 4 * width
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(inner, outer, 4, stride=2, padding=1))
            for inner, outer in zip((3 * (RUN_FRAMES + 1), first, *others[:-1]), (first, *others), strict=True)
        )
        self.judge = spectral_norm(nn.Conv2d(others[-1], 1, 3, padding=1))

    def look(self, videos: Sequence[Tensor], canvas: Tensor) -> list[list[Tensor]]:
        """Cut videos (N, 3, F, H, W) into runs that follow each other, joined with their canvas: (N*R, 12, H, W)."""
        missing, last = -canvas.shape[2] % RUN_FRAMES, canvas.shape[2] - 1
        middles = torch.arange(0, last + 1 + missing, RUN_FRAMES).add(RUN_FRAMES // 2).clamp_max(last)
        of_canvas = canvas[:, :, middles].transpose(1, 2).flatten(0, 1)
        seen = []
        for video in videos:
            frames = torch.cat([video, video[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
            runs = frames.unflatten(2, (-1, RUN_FRAMES)).permute(0, 2, 3, 1, 4, 5).flatten(0, 1).flatten(1, 2)
            seen.append([torch.cat([runs, of_canvas], dim=1)])
        return seen

    def forward(self, seen: list[Tensor]) -> Verdict:
        (runs,) = seen
        features = []
        for layer in self.layers:
            runs = F.leaky_relu(layer(runs), 0.2)
            features.append(runs)
        return Verdict([self.judge(runs)], features)


class FeatureDiscriminator(nn.Module):
    """Score frames by the features that a frozen classifier finds in them and in their canvas.

    Little is left to learn, so it is a useful opponent after hundreds of steps.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(2 * channels, width, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, 1, 1)),
            )
            for channels in FEATURE_CHANNELS
        )

    def look(self, videos: Sequence[Tensor], canvas: Tensor) -> list[list[Tensor]]:
        """Return the features of frames of videos (N, 3, F, H, W) at each stride, joined with those of their canvas."""
        of_canvas = features_of(canvas)
        return [
            [torch.cat(pair, dim=1) / FEATURE_DEVIATION for pair in zip(features_of(video), of_canvas, strict=True)]
            for video in videos
        ]

    def forward(self, seen: list[Tensor]) -> Verdict:
        return Verdict([head(features) for head, features in zip(self.heads, seen, strict=True)], [])


# As recipes name them.
DISCRIMINATORS: dict[str, type[RunDiscriminator | FeatureDiscriminator]] = {
    "runs": RunDiscriminator,
    "features": FeatureDiscriminator,
}


class Adversary(nn.Module):
    """Hinge losses of generator and discriminator, and the distance of their features (Wang et al., pix2pixHD, eq. 3).

    Gradients do not cross between the two: the discriminator loss uses detached outputs, and the generator loss uses
    detached discriminator weights.
    """

    discriminator: RunDiscriminator | FeatureDiscriminator

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.discriminator = DISCRIMINATORS[kind]()

    def losses(self, output: Tensor, target: Tensor, canvas: Tensor, *, weight: float) -> dict[str, Tensor]:
        """Return both losses for `output` and `target`, given the `canvas`, each (N, 3, F, H, W) in [-1, 1]."""
        real_seen, fake_seen = self.discriminator.look((target.float(), output.float()), canvas.float())
        real, fake = self.discriminator(real_seen), self.discriminator([seen.detach() for seen in fake_seen])
        fixed = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        fixed |= {name: value.clone() for name, value in self.discriminator.named_buffers()}
        judged = functional_call(self.discriminator, fixed, (fake_seen,))
        pairs = zip(judged.features, real.features, strict=True)
        matching = [(one - other.detach()).abs().mean() for one, other in pairs]
        losses = {
            "discriminator": _mean([F.relu(1 - score) for score in real.scores])
            + _mean([F.relu(1 + score) for score in fake.scores]),
            "adversarial": -weight * _mean(judged.scores),
        }
        return losses | ({"matching": weight * _mean(matching)} if matching else {})


def _mean(maps: list[Tensor]) -> Tensor:
    return torch.stack([one.mean() for one in maps]).mean()
