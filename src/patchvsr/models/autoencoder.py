"""Autoencoder interface that the pipeline relies on; the bundled autoencoder and Wan's both implement it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from patchvsr.models.geometry import Geometry


@dataclass(frozen=True)
class State:
    """What an autoencoder hands on from the frames of a shot so far to the next ones.

    num_frames: frames so far. features: by name, each (N, ..., h, w) over the area of the frames, at a fraction of its
    size.
    """

    num_frames: int
    features: dict[str, Tensor]


@runtime_checkable  # diffusers checks pipeline components against their annotations
class Autoencoder(Protocol):
    """Encode pixels in [-1, 1] to latents and decode them; clips have 4k+1 frames and sides in whole latent cells."""

    # From Python 3.12 on, the check does not see submodules: only what is defined on the class may be listed here.
    takes_restoration: bool  # whether `decode` uses `restoration` and `estimate_restoration` is implemented
    # Whether `encode_condition_next` and `decode_next` take any number of frames and hand on a state. Otherwise they
    # take a whole clip and hand on None.
    streaming: bool
    tile_px: int  # largest side of a decoded tile without its halo, unless set
    encoder_tile_bytes: int  # memory of 16-bit types, per pixel of a tile with its halo, while it is encoded
    independent_votes: float  # see `estimate_restoration`

    @property
    def encodes_residual(self) -> bool: ...  # whether latents hold what the restored input lacks, not the video itself
    @property
    def geometry(self) -> Geometry: ...
    @property
    def encoder_halo_px(self) -> int: ...
    @property
    def decoder_halo_px(self) -> int: ...
    @property
    def lookback_frames(self) -> int: ...  # earlier frames that a decoded frame depends on, through the state
    @property
    def device(self) -> torch.device: ...

    def decoding_bytes(self, *, with_latents: bool) -> tuple[int, int]:
        """Return the memory of 16-bit types, per pixel of a tile with its halo: while it is decoded, and of its state.

        with_latents: whether there are any, as with 1 step or more.
        """
        ...

    def unfreeze_decoder(self) -> None:
        """Make the decoder trainable, for the last training stage."""
        ...

    def encode(
        self,
        video: Tensor,
        *,
        reference: Tensor | None = None,
        restoration: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Encode video (N, 3, F, H, W) to latents (N, C, T, h, w) of approximately unit variance.

        reference, restoration, scale: see `decode`; needed where `encodes_residual`.
        """
        ...

    def encode_condition(self, canvas: Tensor) -> Tensor:
        """Encode the low-quality canvas (N, 3, F, H, W) to conditions (N, condition_channels, T, h, w)."""
        ...

    def encode_condition_next(self, canvas: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Encode the next frames of a canvas (N, 3, F, H, W), after those that led to `state` (None: the first).

        Returns conditions (N, condition_channels, T, h, w) of the latent frames that are complete, and the next state.
        """
        ...

    def latents_of(self, condition: Tensor) -> Tensor:
        """Return the latents (C, T, h, w) of a canvas from its conditions (condition_channels, T, h, w)."""
        ...

    def estimate_restoration(self, canvas: Tensor, scale: Tensor) -> Tensor:
        """Estimate the degradation of each clip as a logit (N,).

        canvas: (N, 3, F, H, W) in [-1, 1]. scale: (N,) canvas size / input size.
        """
        ...

    def decode(self, latents: Tensor | None, reference: Tensor, *, restoration: Tensor, scale: Tensor) -> Tensor:
        """Decode latents to video (N, 3, F, H, W) in [-1, 1].

        latents: None for 0 steps: what can be inferred from the reference alone. reference: low-quality canvas
        (N, 3, F, H, W). restoration: (N,) its degradation, 0 to 1. scale: (N,) canvas size / input size. An
        implementation may ignore all three.
        """
        ...

    def decode_next(
        self, latents: Tensor | None, reference: Tensor, state: State | None, *, restoration: Tensor, scale: Tensor
    ) -> tuple[Tensor, State | None]:
        """Decode the next frames of a shot, after those that led to `state` (None: the first).

        latents: (N, C, T, h, w), the latent frames that the frames of `reference` belong to. Others: see `decode`.
        state: used up, because its features are as large as many frames.

        Returns the frames (N, 3, F, H, W) and the next state. The frames are those of `decode` for the whole shot.
        """
        ...
