"""Feed-forward restorer of the bundled models: convolutions at a quarter of the canvas, frame by frame.

It adds detail that can be inferred to the bicubic canvas: the faithful mode, and what the generative path adds detail
to. The canvas is folded into channels (`FoldedConvolution`), so that the trunk works at about the size of a x4 input.
After every second block, each position also sees the same features of the previous frame, 3x3 positions of them. These
are all that a frame hands on: what a frame depends on ends after as many frames as there are such convolutions, so a
still shot of any length cannot drift, and neither tiles nor stops change a byte.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchvsr.models.autoencoder import State
from patchvsr.models.mini.blocks import (
    FOLD,
    SLOPE,
    FoldedConvolution,
    VectorLinear,
    channels_last,
    convolve,
    convolve_add,
    convolve_leaky_relu_with,
    convolve_sigmoid_with,
    scale_feature,
    unfold,
)
from patchvsr.models.mini.estimator import BLOCK_PX, RestorationEstimator

EMBEDDING_CHANNELS = 64
# Logits by which the estimate is lowered, because restoring a clean input costs more than leaving a degraded one alone
# (docs/experiments.md).
CAUTION = 0.3
# What the estimates of a clip's blocks count together, fitted to the same clips; see `estimate_restoration`.
INDEPENDENT_VOTES = 3.0

# Logit of the gates for equal features at the start of training, and the mean distance at which they are half closed.
# Gates that start closed stay closed (docs/experiments.md).
OPEN_LOGIT, NEAR = 3.0, 0.1

Features = dict[str, Tensor]


class Restorer(nn.Module):
    """Residual trunk at a quarter of the canvas size, told how degraded the input is and how far it was enlarged.

    Sharpening that suits a clean x4 reduction ruins a noisy one, and a smooth patch alone does not reveal which of the
    two it is. The last convolution is zero-initialised: an untrained restorer returns the canvas exactly.
    """

    def __init__(self, channels: int = 64, num_blocks: int = 10):
        super().__init__()
        self.embedding = nn.Sequential(VectorLinear(2, EMBEDDING_CHANNELS), nn.SiLU())
        self.stem = FoldedConvolution(channels)
        self.blocks = nn.ModuleList(ConditionedBlock(channels) for _ in range(num_blocks))
        self.previous = nn.ModuleList(PreviousFrame(channels) for _ in range(num_blocks // 2))
        self.head = nn.Conv2d(channels, 3 * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.estimator = RestorationEstimator()

    @property
    def trunk_halo_px(self) -> int:
        """Pixels around a tile that the trunk's features depend on."""
        return FOLD * (1 + 2 * len(self.blocks) + len(self.previous))

    @property
    def halo_px(self) -> int:
        """Pixels around a tile that its restored pixels depend on."""
        return self.trunk_halo_px + FOLD

    @property
    def lookback_frames(self) -> int:
        """Earlier frames that a restored frame depends on."""
        return PreviousFrame.lookback_frames * len(self.previous)

    def forward(
        self, canvas: Tensor, state: State | None, *, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, State]:
        """Restore the next frames of a shot, any number, after those that led to `state`.

        canvas: (N, 3, F, H, W) in [-1, 1], sides in multiples of 4. restoration: (N,) degradation of the input, from
        0 (downscaled only) to 1. scale: (N,) canvas size / input size. state: used up.

        Returns the frames, of the shape and precision of the canvas, and the state of the frames after these.
        """
        features, state = self.trunk(canvas, state, self.embed(restoration, scale))
        return added(canvas, convolve(features, self.head)), state

    def estimate(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Estimate the degradation of each clip as a logit (N,), whose sigmoid is the `restoration` of `forward`.

        canvas: (N, 3, F, H, W) in [-1, 1]. scale: (N,) canvas size / input size.
        """
        if canvas.shape[2] == 1:  # treat a single image as a still clip, since the estimator needs two frames
            canvas = canvas.expand(-1, -1, 2, -1, -1)
        missing = [max(0, BLOCK_PX - side) for side in canvas.shape[-2:]]
        canvas = F.pad(canvas, (0, missing[1], 0, missing[0], 0, 0), mode="replicate")
        return self.estimator(canvas, scale).float() - CAUTION

    def embed(self, restoration: Tensor, scale: Tensor) -> Tensor:
        """Return the vector (N, E) that tells the blocks of a clip's degradation and scale."""
        return self.embedding(torch.stack([2 * restoration.float() - 1, scale_feature(scale)], dim=1))

    def trunk(self, canvas: Tensor, state: State | None, embedding: Tensor) -> tuple[Tensor, State]:
        """Return what the last convolution sees, (N*F, C, H/4, W/4), and the state of the frames after these."""
        num_frames, dtype = canvas.shape[2], self.head.weight.dtype
        carried = {} if state is None else state.features
        x = self.stem(canvas.to(dtype).transpose(1, 2).flatten(0, 1))
        x, handed_on = run_trunk(self.blocks, self.previous, x, embedding, num_frames, carried)
        return x, State(num_frames + (state.num_frames if state else 0), handed_on)


def run_trunk(
    blocks: nn.ModuleList, previous: nn.ModuleList, x: Tensor, embedding: Tensor, num_frames: int, carried: Features
) -> tuple[Tensor, Features]:
    """Run blocks on frames (N*F, C, h, w), each second one followed by the previous frame; add their input at the end.

    carried: what the frames before handed on, by name; used up. Returns the features, and what these frames hand on.
    """
    skip, handed_on = x, {}
    for index, block in enumerate(blocks):
        x = block(x, embedding)
        if index % 2 == 1:
            name = f"previous{index // 2}"
            x, handed_on[name] = previous[index // 2](x, embedding, num_frames, carried.pop(name, None))
    return x.add(skip), handed_on


def added(video: Tensor, folded: Tensor) -> Tensor:
    """Return a video (N, 3, F, H, W) plus folded detail (N*F, 48, H/4, W/4)."""
    detail = unfold(folded).unflatten(0, (-1, video.shape[2])).transpose(1, 2)
    # Add in the precision of the video: bfloat16 would cause visible banding in flat areas of the input.
    return detail.to(video.dtype).add_(video)


class ConditionedBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection; the embedding of a clip scales and shifts the first one's output.

    It does so before the activation: for one clip that is a convolution with other weights, and costs nothing.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = VectorLinear(EMBEDDING_CHANNELS, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # (N*F, C, h, w), (N, E)
        gain, shift = self.modulation(embedding).chunk(2, dim=1)
        if len(embedding) == 1:
            weight = (1 + gain[0])[:, None, None, None] * self.conv1.weight.float()
            bias = (1 + gain[0]) * self.conv1.bias.float() + shift[0]  # type: ignore[union-attr]
            hidden = convolve_leaky_relu_with(x, weight.to(x.dtype), bias.to(x.dtype))
        else:
            gain, shift = per_frame(gain, x), per_frame(shift, x)
            hidden = convolve(x, self.conv1)
            hidden = F.leaky_relu(torch.addcmul(shift.to(hidden.dtype), hidden, (1 + gain).to(hidden.dtype)), SLOPE)
        return convolve_add(x, hidden, self.conv2.weight, self.conv2.bias, padding=1)


class PreviousFrame(nn.Module):
    """Add a 3x3 convolution of features that follow the previous frame's as far as these agree with a frame's own.

    A gate for each position and channel sees how far the two lie apart: what has moved away is of no use. How far is
    too far depends on the noise, so the embedding of a clip shifts the gates. The first frame of a shot stands in for
    the one before it, so a single frame and a still shot are restored alike.
    """

    lookback_frames = 1

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.modulation = VectorLinear(EMBEDDING_CHANNELS, channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():
            self.mix.weight.mul_(0.1)
            self.gate.weight.fill_(-OPEN_LOGIT / (NEAR * channels))
            self.gate.bias.fill_(OPEN_LOGIT)  # type: ignore[union-attr]

    def forward(self, x: Tensor, embedding: Tensor, num_frames: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return frames (N*F, C, h, w) with those before them mixed in, and the last one as it came.

        embedding: (N, E). past: (N, C, h, w), the frame before the first.
        """
        if past is None:
            past = x[::num_frames]
        last = x[num_frames - 1 :: num_frames]
        if num_frames > 1:
            frames = x.permute(0, 2, 3, 1).unflatten(0, (-1, num_frames))  # channels last, in which joining is copying
            before = torch.cat([past.permute(0, 2, 3, 1).unsqueeze(1), frames[:, :-1]], dim=1)
            past = before.flatten(0, 1).permute(0, 3, 1, 2)
        past = channels_last(past)
        mixed = torch.lerp(x, past, self._gates((past - x).abs_(), embedding))
        return convolve_add(x, mixed, self.mix.weight, self.mix.bias, padding=1), last

    def _gates(self, distance: Tensor, embedding: Tensor) -> Tensor:
        shift, gate = self.modulation(embedding), self.gate
        if len(embedding) == 1:
            bias = gate.bias.float() + shift[0]  # type: ignore[union-attr]
            return convolve_sigmoid_with(distance, gate.weight, bias.to(distance.dtype))
        return convolve(distance, gate).add(per_frame(shift, distance).to(distance.dtype)).sigmoid()


def per_frame(of_clips: Tensor, frames: Tensor) -> Tensor:
    """Repeat what is known of each clip (N, C) for each of its `frames` (N*F, ...): (N*F, C, 1, 1)."""
    return of_clips.repeat_interleave(len(frames) // len(of_clips), dim=0)[:, :, None, None]
