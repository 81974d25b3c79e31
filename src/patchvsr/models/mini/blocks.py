"""Building blocks of the bundled autoencoder: finite receptive field, causal in time, no frame statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The autoencoder works at a quarter of the resolution, because full-resolution convolutions are too slow on a CPU.
FOLD = 4
SCALES = (1.0, 8.0)  # range the bundled model was trained for; other scales are clamped to it


def scale_feature(scale: Tensor) -> Tensor:
    """Map scale factors (N,) to a feature centred at zero: octaves relative to x4."""
    return scale.float().clamp(*SCALES).log2() - 2


class VectorLinear(nn.Linear):
    """Linear layer for a few vectors, in float32.

    The rounding of matrix-vector products depends on the memory address of the matrix, so with `nn.Linear` a loaded
    model would differ from the saved one in the last bits.
    """

    def forward(self, x: Tensor) -> Tensor:  # (N, C) -> (N, C')
        return (self.weight.float() * x.float().unsqueeze(-2)).sum(dim=-1) + self.bias.float()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection.

    There is no normalisation: statistics over the frame would make tiles differ from the whole. With
    `embedding_channels`, a per-clip embedding scales and shifts the features between the convolutions (FiLM). The
    modulation is zero-initialised, so an untrained embedding has no effect.
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
    """Add a 1x1 mix of the current and the two previous frames at each position. The first frame is repeated."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(3 * channels, channels, 1)
        with torch.no_grad():
            self.mix.weight.mul_(0.1)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:  # (N*F, C, h, w)
        # Frame by frame: concatenating all frames three times would set the peak memory of the decoder.
        mixed = []
        for index, current in enumerate(x.split(1)):
            first = index - index % num_frames
            back = [x[max(first, index - step)].unsqueeze(0) for step in (1, 2)]
            mixed.append(current + self.mix(torch.cat([current, *back], dim=1)))
        return torch.cat(mixed)
