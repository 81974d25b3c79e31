"""How latents lie over frames and pixels, as the autoencoders really produce them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy
import toy_wan

from patchvsr.models.geometry import Geometry, clip_length, is_clip_length, latent_frames

GEOMETRY = Geometry(spatial_factor=8, latent_channels=4, condition_channels=6)
AUTOENCODERS = {
    "mini": toy.autoencoder,
    **{name: lambda name=name: toy_wan.autoencoder(name) for name in toy_wan.FLAVOURS},
}


def test_clips_have_4k_plus_1_frames() -> None:
    assert [n for n in range(-4, 18) if is_clip_length(n)] == [1, 5, 9, 13, 17]


@pytest.mark.parametrize(
    ("num_frames", "padded", "latent"),
    [(1, 1, 1), (2, 5, 2), (4, 5, 2), (5, 5, 2), (6, 9, 3), (17, 17, 5), (18, 21, 6)],
)
def test_clips_are_padded_to_the_next_length(num_frames: int, padded: int, latent: int) -> None:
    assert clip_length(num_frames) == padded
    assert latent_frames(padded) == latent


def test_latent_shape_has_height_before_width() -> None:
    assert GEOMETRY.cells(16, 40) == (2, 5)
    assert GEOMETRY.latent_shape(9, 16, 40) == (3, 2, 5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (5, 16, 40), (2, 3, 17, 8, 24)])
def test_accepts_clips_in_whole_cells(shape: tuple[int, ...]) -> None:
    GEOMETRY.check(torch.empty(shape))


@pytest.mark.parametrize("shape", [(0, 8, 8), (4, 8, 8), (6, 8, 8), (5, 12, 8), (5, 8, 12), (2, 3, 2, 8, 8)])
def test_refuses_other_lengths_and_sides(shape: tuple[int, ...]) -> None:
    num_frames, height, width = shape[-3:]
    with pytest.raises(ValueError, match=f"got {num_frames} frames of {width}x{height}; needed: 4k.1 frames, .* of 8"):
        GEOMETRY.check(torch.empty(shape))


def encoded(autoencoder: Any, video: torch.Tensor) -> torch.Tensor:
    return autoencoder.encode(video, reference=video, **toy.KNOWN_OF_CLIPS)


@pytest.mark.parametrize("name", AUTOENCODERS)
@torch.no_grad()
def test_is_what_the_autoencoder_makes(name: str) -> None:
    autoencoder: Any = AUTOENCODERS[name]()
    geometry = autoencoder.geometry
    for num_frames in (1, 9):
        height, width = geometry.spatial_factor * 2, geometry.spatial_factor * 3
        video = toy.randn(1, 3, num_frames, height, width).clamp(-1, 1)
        cells = geometry.latent_shape(num_frames, height, width)
        assert encoded(autoencoder, video).shape == (1, geometry.latent_channels, *cells)
        assert autoencoder.encode_condition(video).shape == (1, geometry.condition_channels, *cells)
        decoded = autoencoder.decode(toy.randn(1, geometry.latent_channels, *cells), video, **toy.KNOWN_OF_CLIPS)
        assert decoded.shape == video.shape


@pytest.mark.parametrize("name", AUTOENCODERS)
@pytest.mark.parametrize(("frames", "more_height", "more_width"), [(4, 0, 0), (5, 1, 0), (5, 0, 1)])
def test_autoencoders_refuse_what_does_not_fit(name: str, frames: int, more_height: int, more_width: int) -> None:
    autoencoder: Any = AUTOENCODERS[name]()
    side = 2 * autoencoder.geometry.spatial_factor
    with pytest.raises(ValueError, match=r"needed: 4k\+1 frames"):
        encoded(autoencoder, torch.zeros(1, 3, frames, side + more_height, side + more_width))
