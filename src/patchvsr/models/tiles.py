"""Encode and decode in tiles.

Tiles are cut with the halo that the autoencoder declares. If it covers the receptive field, the result equals that of
the whole frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.patches.grid import Area


@dataclass(frozen=True)
class Tile:
    """Areas in pixels: `inner` is kept; `outer` is `inner` plus halo, clipped to the frame."""

    inner: Area
    outer: Area


def tiles(
    height: int, width: int, tile_px: int, halo_px: int, cell_px: int, area: Area | None = None
) -> Iterator[Tile]:
    """Yield near-equal tiles of at most `tile_px`, in whole latent cells.

    Sides and `area` must be multiples of `cell_px`.
    """
    top, bottom, left, right = area or (0, height, 0, width)
    for y0, y1 in _cuts(top, bottom, tile_px, cell_px):
        for x0, x1 in _cuts(left, right, tile_px, cell_px):
            outer = (
                max(0, y0 - halo_px),
                min(height, y1 + halo_px),
                max(0, x0 - halo_px),
                min(width, x1 + halo_px),
            )
            yield Tile((y0, y1, x0, x1), outer)


def _cuts(start: int, stop: int, tile_px: int, cell_px: int) -> list[tuple[int, int]]:
    cells = (stop - start) // cell_px
    count = -(-cells // max(1, tile_px // cell_px))
    edges = [start + index * cells // count * cell_px for index in range(count + 1)]
    return list(pairwise(edges))


def encode_condition_tiled(autoencoder: Autoencoder, canvas: Tensor, tile_px: int) -> Tensor:
    """Encode the canvas (3, F, H, W) in [-1, 1] to conditions (C, T, h, w) in tiles."""
    geometry, (_, num_frames, height, width) = autoencoder.geometry, canvas.shape
    factor = geometry.spatial_factor
    condition = torch.empty(geometry.condition_channels, *geometry.latent_shape(num_frames, height, width))
    for tile in tiles(height, width, tile_px, autoencoder.encoder_halo_px, factor):
        encoded = (
            autoencoder.encode_condition(_cut(canvas, tile.outer).unsqueeze(0).to(autoencoder.device))[0].float().cpu()
        )
        _cut(condition, tile.inner, factor).copy_(_cut(encoded, _relative(tile), factor))
    return condition


def decode_tiled(
    autoencoder: Autoencoder,
    latents: Tensor,
    canvas: Tensor,
    tile_px: int,
    *,
    restoration: float,
    scale: float,
    area: Area | None = None,
) -> Tensor:
    """Decode latents (C, T, h, w) and canvas (3, F, H, W) to video (3, F, H, W) in tiles.

    restoration, scale: see `Autoencoder.decode`.
    area: in pixels, whole latent cells; only this area is decoded, the rest of the result is the canvas.
    """
    factor = autoencoder.geometry.spatial_factor
    video = torch.empty_like(canvas) if area is None else canvas.clone()
    known = {"restoration": torch.tensor([restoration]), "scale": torch.tensor([scale])}
    known = {name: value.to(autoencoder.device) for name, value in known.items()}
    for tile in tiles(canvas.shape[-2], canvas.shape[-1], tile_px, autoencoder.decoder_halo_px, factor, area):
        reference = _cut(canvas, tile.outer).unsqueeze(0).to(autoencoder.device)
        cells = _cut(latents, tile.outer, factor).unsqueeze(0).to(autoencoder.device)
        decoded = autoencoder.decode(cells, reference, **known)[0].to(canvas)
        _cut(video, tile.inner).copy_(_cut(decoded, _relative(tile)))
    return video


def _cut(x: Tensor, area: Area, factor: int = 1) -> Tensor:
    y0, y1, x0, x1 = (side // factor for side in area)
    return x[..., y0:y1, x0:x1]


def _relative(tile: Tile) -> Area:
    top, _, left, _ = tile.outer
    y0, y1, x0, x1 = tile.inner
    return y0 - top, y1 - top, x0 - left, x1 - left
