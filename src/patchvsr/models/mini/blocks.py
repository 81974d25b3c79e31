"""Building blocks of the bundled models: finite receptive field, causal in time, no frame statistics.

Activations stay channels_last from the first convolution to the last: with any other layout, convolutions reorder their
input and output, which costs more than the convolution itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchvsr.models.autoencoder import State
from patchvsr.models.geometry import TEMPORAL_FACTOR

# Restorer and decoder work at a quarter of the resolution, because full-resolution convolutions are too slow on a CPU.
FOLD = 4
SCALES = (1.0, 8.0)  # range the bundled model was trained for; other scales are clamped to it
SLOPE = 0.1  # of leaky ReLU


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


def convolve(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return a convolution of `x`, by the kernels of the other two functions, so that it rounds alike in any batch."""
    weight, bias, padding = convolution.weight, convolution.bias, convolution.padding
    if not _fuses(x, weight):
        return convolution(channels_last(x))
    return _convolve_fused(x, weight, bias, padding, "none")


def convolve_leaky_relu(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return the leaky ReLU of a convolution of `x`, as one pass over memory where oneDNN can fuse the two."""
    return convolve_leaky_relu_with(x, convolution.weight, convolution.bias, convolution.padding)


def convolve_leaky_relu_with(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: str | tuple[int, ...] = (1, 1)
) -> Tensor:
    """Return the leaky ReLU of a convolution with these weights, see `convolve_leaky_relu`."""
    if not _fuses(x, weight):
        return F.leaky_relu(F.conv2d(channels_last(x), weight, bias, padding=padding), SLOPE, inplace=True)
    return _convolve_fused(x, weight, bias, padding, "leaky_relu", [SLOPE])


def convolve_sigmoid_with(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the sigmoid of a 1x1 convolution of `x`, as one pass over memory where oneDNN can fuse the two."""
    if not _fuses(x, weight):
        return F.conv2d(channels_last(x), weight, bias).sigmoid_()
    return _convolve_fused(x, weight, bias, (0, 0), "sigmoid")


def convolve_add(skip: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, padding: int = 0) -> Tensor:
    """Return `skip` plus a convolution of `x`, as one pass over memory where oneDNN can fuse the two."""
    if not _fuses(x, weight):
        return F.conv2d(channels_last(x), weight, bias, padding=padding).add_(skip)
    x, skip = channels_last(x), channels_last(skip)
    return torch.ops.mkldnn._convolution_pointwise.binary(
        x, skip, weight, bias, (padding, padding), (1, 1), (1, 1), 1, "add", 1.0, None, [], ""
    )


def channels_last(x: Tensor) -> Tensor:
    """Return frames (N, C, h, w) in channels_last.

    A view of a single frame may have any batch stride, by which torch and oneDNN no longer recognise the layout.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    return x.as_strided(x.shape, (x[0].numel(), *x.stride()[1:])) if len(x) == 1 else x


def _convolve_fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: str | tuple[int, ...],
    activation: str,
    scalars: Sequence[float] = (),
) -> Tensor:
    """Return the activation of a convolution of `x`, by oneDNN, in one pass over memory."""
    return torch.ops.mkldnn._convolution_pointwise(
        channels_last(x), weight, bias, padding, (1, 1), (1, 1), 1, activation, list(scalars), ""
    )


def _fuses(x: Tensor, weight: Tensor) -> bool:
    """Return whether the fused kernels can be used: they have no gradient and know no autocast."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and torch.backends.mkldnn.is_available()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


class FoldedConvolution(nn.Conv2d):
    """3x3 convolution of frames folded by pixel unshuffle (factor `FOLD`), without the shuffle.

    A convolution of folded frames is a strided convolution of the frames with the same weights in another order.
    """

    def __init__(self, out_channels: int):
        super().__init__(3 * FOLD**2, out_channels, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, C, H/4, W/4)
        weight = self.weight.unflatten(1, (-1, FOLD, FOLD)).permute(0, 1, 4, 2, 5, 3)  # (C, 3, 3, 4, 3, 4)
        return F.conv2d(channels_last(frames), weight.flatten(4).flatten(2, 3), self.bias, stride=FOLD, padding=FOLD)


class Downsample2x(nn.Conv2d):
    """Pixel unshuffle and 1x1 convolution as one strided convolution: (N, C, h, w) -> (N, C', h/2, w/2)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(4 * in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(channels_last(x), self.weight.flatten(1).unflatten(1, (-1, 2, 2)), self.bias, stride=2)


class Upsample2x(nn.Conv2d):
    """1x1 convolution and pixel shuffle that moves whole runs of channels: (N, C, h, w) -> (N, C', 2h, 2w)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, 4 * out_channels, 1)

    def forward(self, x: Tensor, channels: slice = slice(None)) -> Tensor:
        """`channels` selects output channels, which come from four channels of the convolution each."""
        assert self.bias is not None
        weight, bias = (
            parameter.unflatten(0, (-1, 4))[channels].transpose(0, 1).flatten(0, 1)
            for parameter in (self.weight, self.bias)
        )
        x = F.conv2d(channels_last(x), weight, bias).permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))  # (N, h, w, 2, 2, C')
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def frames_of_cells(hidden: list[Tensor], frames: range, unfold_time: Upsample2x) -> tuple[Tensor, Tensor | None]:
    """Unfold latent frames, (N, C', h, w) each, to their frames: (N*F, C, 2h, 2w).

    hidden: the latent frames that `frames`, numbered from the start of the shot, belong to.
    unfold_time: gives the channels of all four frames of a latent frame.

    Also returns the last latent frame if some of its frames are still to come, else None.
    """
    # The first latent frame holds one frame, its last; all others hold four.
    places = [(number + TEMPORAL_FACTOR - 1) % TEMPORAL_FACTOR for number in frames]
    cells = [(number + TEMPORAL_FACTOR - 1) // TEMPORAL_FACTOR for number in frames]
    channels = unfold_time.out_channels // (4 * TEMPORAL_FACTOR)
    features = []
    for cell, x in enumerate(hidden):
        own = [place for place, at in zip(places, cells, strict=True) if at - cells[0] == cell]
        x = unfold_time(x, slice(own[0] * channels, (own[-1] + 1) * channels))
        features.append(x.permute(0, 2, 3, 1).unflatten(3, (len(own), channels)))  # (N, 2h, 2w, f, C)
    joined = torch.cat(features, dim=3) if len(features) > 1 else features[0]
    return joined.permute(0, 3, 4, 1, 2).flatten(0, 1), None if places[-1] == TEMPORAL_FACTOR - 1 else hidden[-1]


def as_frames(video: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the frames of a video (N, C, F, H, W) as (N*F, C, H, W), channels_last."""
    return video.to(dtype).permute(0, 2, 3, 4, 1).contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def first_repeated(frames: Tensor) -> Tensor:
    """Return what comes before frames (N, F, ...): the first latent frame holds one frame, repeated to fill it."""
    return frames[:, :1].expand(-1, TEMPORAL_FACTOR - 1, -1, -1, -1)


def complete_cells(new: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Split frame features (N, F, ...), after those that wait in `state`, into whole latent frames and a new state."""
    num_frames = new.shape[1]
    waiting = first_repeated(new) if state is None else state.features.get("frames", new[:, :0])
    frames = torch.cat([waiting, new], dim=1)
    complete, left = frames.split([frames.shape[1] - (rest := frames.shape[1] % TEMPORAL_FACTOR), rest], dim=1)
    return complete, State(num_frames + (state.num_frames if state else 0), {"frames": left} if rest else {})


def unfold(x: Tensor) -> Tensor:
    """Pixel shuffle by `FOLD`: (N, 3 * 16, h, w) -> (N, 3, 4h, 4w), not channels_last."""
    x = x.permute(0, 2, 3, 1).unflatten(3, (3, FOLD, FOLD))  # (N, h, w, 3, 4, 4)
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection.

    There is no normalisation: statistics over the frame would make tiles differ from the whole.
    """

    radius = 2

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, h, w)
        return convolve_add(x, convolve_leaky_relu(x, self.conv1), self.conv2.weight, self.conv2.bias, padding=1)
