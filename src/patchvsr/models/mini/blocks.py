"""Building blocks of the bundled autoencoder: finite in space, causal in time, without statistics over the frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The autoencoder works at a quarter of the resolution: full-resolution convolutions are what a CPU cannot afford.
FOLD = 4
SCALES = (1.0, 8.0)  # that the bundled model was trained for; beyond, the nearest of them is assumed


def scale_feature(scale: Tensor) -> Tensor:
    """Enlargements (N,) as a number around zero: octaves from x4."""
    return scale.float().clamp(*SCALES).log2() - 2


class VectorLinear(nn.Linear):
    """A linear layer for a few vectors, in float32.

    Products of a matrix and one vector round by where in memory the matrix lies, so that a loaded model would differ
    from the saved one in the last bits.
    """

    def forward(self, x: Tensor) -> Tensor:  # (N, C) -> (N, C')
        return (self.weight.float() * x.float().unsqueeze(-2)).sum(dim=-1) + self.bias.float()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions without normalisation: statistics over the frame would make tiles differ from the whole.

    With `embedding_channels` an embedding of each clip scales and shifts the features between the two (FiLM); that
    starts at zero, so that an untrained embedding changes nothing.
    """

    radius = 2

    def __init__(self, channels: int, embedding_channels: int | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)
        self.modulation = None
        if embedding_channels is not None:
            self.modulation = VectorLinear(embedding_channels, 2 * channels)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:  # (N*F, C, h, w), (N, E)
        hidden = F.leaky_relu(self.conv1(x), 0.1, inplace=True)
        if self.modulation is not None and embedding is not None:
            per_frame = self.modulation(embedding).repeat_interleave(len(x) // len(embedding), dim=0)
            gain, shift = per_frame[:, :, None, None].to(hidden.dtype).chunk(2, dim=1)
            hidden = torch.addcmul(shift, hidden, 1 + gain)
        return x + self.conv2(hidden)


class CausalTemporalMix(nn.Module):
    """Adds a mixture of the current and the two earlier frames at each position; the first frame is repeated."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(3 * channels, channels, 1)
        with torch.no_grad():
            self.mix.weight.mul_(0.1)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:  # (N*F, C, h, w)
        # Frame by frame: three times all frames, side by side in the channels, would be the decoder's peak of memory.
        mixed = []
        for index, current in enumerate(x.split(1)):
            first = index - index % num_frames
            back = [x[max(first, index - step)].unsqueeze(0) for step in (1, 2)]
            mixed.append(current + self.mix(torch.cat([current, *back], dim=1)))
        return torch.cat(mixed)
