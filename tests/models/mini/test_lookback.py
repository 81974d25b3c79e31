"""Earlier frames that a decoded frame depends on: after so many, decoding may begin inside a shot, bit for bit."""

from __future__ import annotations

import torch
import toy
from torch import Tensor

from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder

SIDE, FIRST = 32, 8


def decoded(autoencoder: ResidualAutoencoder, canvas: Tensor, latents: Tensor | None, first: int) -> Tensor:
    """The frames from `first` on, as if the shot began there, one by one as jobs decode them."""
    frames, state = [], None
    for number in range(first, canvas.shape[2]):
        cell = slice(-(-number // 4), -(-number // 4) + 1)
        cells = None if latents is None else latents[:, :, cell]
        frame, state = autoencoder.decode_next(cells, canvas[:, :, number : number + 1], state, **toy.KNOWN_OF_CLIPS)
        frames.append(frame)
    return torch.cat(frames, dim=2)


@torch.no_grad()
def check(autoencoder: ResidualAutoencoder, lookback: int, *, steps: int) -> None:
    """Frames are those of the whole shot from the one on that `lookback` frames come before, and not earlier."""
    canvas = 2 * toy.video(FIRST + lookback + 3, SIDE, SIDE).transpose(0, 1)[None] - 1
    geometry = autoencoder.geometry
    cells = -(-canvas.shape[2] // 4) + 1, SIDE // geometry.spatial_factor, SIDE // geometry.spatial_factor
    latents = toy.randn(1, geometry.latent_channels, *cells) if steps else None
    whole, late = (decoded(autoencoder, canvas, latents, first) for first in (0, FIRST))
    assert torch.equal(late[:, :, lookback:], whole[:, :, FIRST + lookback :])
    assert not torch.equal(late[:, :, lookback - 1], whole[:, :, FIRST + lookback - 1])


def test_a_shot_can_be_decoded_from_there_with_latents() -> None:
    autoencoder = toy.autoencoder()
    check(autoencoder, autoencoder.lookback_frames, steps=1)


def test_a_shot_can_be_decoded_from_there_without_latents_at_the_size_of_the_bundled_models() -> None:
    autoencoder, lookback = toy.randomised(ResidualAutoencoder(), std=0.02).eval(), 5
    check(autoencoder, lookback, steps=0)
    assert lookback <= autoencoder.lookback_frames
