"""Patch discriminator on short runs of frames, with generator and discriminator losses computed in one step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

RUN_FRAMES = 3  # of a run that is judged at once; a shorter clip repeats its last frame


class Discriminator(nn.Module):
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

    def forward(self, runs: Tensor) -> list[Tensor]:
        """Return the features of every layer, and last the scores (N, 1, h, w), of runs (N, 12, H, W)."""
        found = []
        for layer in self.layers:
            runs = F.leaky_relu(layer(runs), 0.2)
            found.append(runs)
        return [*found, self.judge(runs)]


class Adversary(nn.Module):
    """Hinge losses of generator and discriminator, and the distance of their features (Wang et al., pix2pixHD, eq. 3).

    Gradients do not cross between the two: the discriminator loss uses detached outputs, and the generator loss uses
    detached discriminator weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = Discriminator()

    def losses(self, output: Tensor, target: Tensor, canvas: Tensor, *, weight: float) -> dict[str, Tensor]:
        """Return both losses for `output` and `target`, given the `canvas`, each (N, 3, F, H, W) in [-1, 1]."""
        real_runs, fake_runs = (_runs(clip.float(), canvas.float()) for clip in (target, output))
        *real_features, real = self.discriminator(real_runs)
        *_, fake = self.discriminator(fake_runs.detach())
        fixed = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        fixed |= {name: value.clone() for name, value in self.discriminator.named_buffers()}
        *features, judged = functional_call(self.discriminator, fixed, (fake_runs,))
        pairs = zip(features, real_features, strict=True)
        matching = torch.stack([(one - other.detach()).abs().mean() for one, other in pairs]).mean()
        return {
            "discriminator": F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
            "adversarial": -weight * judged.mean(),
            "matching": weight * matching,
        }


def _runs(video: Tensor, canvas: Tensor) -> Tensor:
    """Cut videos (N, 3, F, H, W) into runs that follow each other, joined with their canvas: (N*R, 12, H, W)."""
    missing = -video.shape[2] % RUN_FRAMES
    frames = torch.cat([video, video[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
    runs = frames.unflatten(2, (-1, RUN_FRAMES)).permute(0, 2, 3, 1, 4, 5).flatten(0, 1).flatten(1, 2)
    middles = torch.arange(0, frames.shape[2], RUN_FRAMES).add(RUN_FRAMES // 2).clamp_max(canvas.shape[2] - 1)
    return torch.cat([runs, canvas[:, :, middles].transpose(1, 2).flatten(0, 1)], dim=1)
