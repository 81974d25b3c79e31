"""Encode and decode frame by frame, in tiles.

Tiles are cut with the halo that the autoencoder declares. If it covers the receptive field, the result equals that of
the whole frame. In time, a `State` is handed on from frame to frame, so the result equals that of the whole shot. An
autoencoder that does not stream gets whole clips instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder, State
from patchvsr.models.geometry import cells_of
from patchvsr.patches.grid import Area
from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class Tile:
    """Areas in pixels: `inner` is kept; `outer` is `inner` plus halo, clipped to the frame."""

    inner: Area
    outer: Area


States = dict[Tile, State | None]


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


def runs(autoencoder: Autoencoder, frames: range) -> Iterator[range]:
    """Yield the frames to process at once: each by itself, or all if the autoencoder does not stream."""
    length = 1 if autoencoder.streaming else len(frames)
    for start in range(frames.start, frames.stop, length):
        yield range(start, min(start + length, frames.stop))


def encode_condition_tiled(autoencoder: Autoencoder, canvas: Sequence[Tensor], size: Size, tile_px: int) -> Tensor:
    """Encode a canvas to conditions (C, T, h, w), float32 on the CPU, in tiles.

    canvas: 4k+1 frames (3, H, W) of `size` in [-1, 1], each taken once and in order.
    """
    geometry, device, (width, height) = autoencoder.geometry, autoencoder.device, size
    factor, num_frames = geometry.spatial_factor, len(canvas)
    condition = torch.empty(geometry.condition_channels, *geometry.latent_shape(num_frames, height, width))
    states: States = dict.fromkeys(tiles(height, width, tile_px, autoencoder.encoder_halo_px, factor))
    done = 0
    for run in runs(autoencoder, range(num_frames)):
        frames = torch.stack([canvas[number] for number in run], dim=1)
        for tile, state in states.items():
            part = _cut(frames, tile.outer).unsqueeze(0).to(device)
            encoded, states[tile] = autoencoder.encode_condition_next(part, state)
            new = slice(done, done + encoded.shape[2])
            _cut(condition[:, new], tile.inner, factor).copy_(_cut(encoded[0], _relative(tile), factor))
        done = new.stop
    return condition


class TiledDecoder:
    """Decode the frames of a shot in order, in tiles.

    restoration, scale: see `Autoencoder.decode`. detail: see `ResidualAutoencoder.decode`.
    area: in pixels, whole latent cells; only this area is decoded, the rest of the result is the canvas.
    states: what an earlier decoder of the same shot left in its `states`.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        *,
        restoration: float,
        scale: float,
        detail: float = 1.0,
        area: Area | None = None,
        states: States | None = None,
    ):
        self.autoencoder, self.area, self.states = autoencoder, area, states or {}
        known = {"restoration": torch.tensor([restoration]), "scale": torch.tensor([scale])}
        if autoencoder.encodes_residual:
            known["detail"] = torch.tensor([detail])
        self._device = autoencoder.device  # asked once: it is looked for in every module
        self._known = {name: value.to(self._device) for name, value in known.items()}

    def decode(self, latents: Tensor | None, canvas: Tensor, tile_px: int) -> Tensor:
        """Decode the next frames of the shot to video (3, F, H, W).

        latents: (C, T, h, w), the latent frames that they belong to; None for 0 steps. canvas: (3, F, H, W) in [-1, 1].

        After a call that raised, the shot cannot be continued: the features of a state are freed as they are used.
        """
        autoencoder, factor = self.autoencoder, self.autoencoder.geometry.spatial_factor
        height, width = canvas.shape[-2:]
        cut = list(tiles(height, width, tile_px, autoencoder.decoder_halo_px, factor, self.area))
        before = self.states if set(cut) == set(self.states) else recut(self.states, cut)
        self.states = after = {}
        video = torch.empty_like(canvas) if self.area is None else canvas.clone()
        for tile in cut:
            reference = _cut(canvas, tile.outer).unsqueeze(0).to(self._device)
            cells = None
            if latents is not None:
                cells = _cut(latents, tile.outer, factor).unsqueeze(0).to(self._device)
            decoded, after[tile] = autoencoder.decode_next(cells, reference, before[tile], **self._known)
            if len(cut) == 1 and self.area is None:
                return decoded[0]
            _cut(video, tile.inner).copy_(_cut(decoded[0], _relative(tile)))
        return video


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
    """Decode latents (C, T, h, w) and canvas (3, F, H, W) of a whole clip to video (3, F, H, W), see `TiledDecoder`."""
    decoder = TiledDecoder(autoencoder, restoration=restoration, scale=scale, area=area)
    frames = range(canvas.shape[1])
    decoded = [
        decoder.decode(latents[:, cells_of(run)], canvas[:, run.start : run.stop], tile_px)
        for run in runs(autoencoder, frames)
    ]
    return torch.cat(decoded, dim=1)


def recut(states: States, cut: Sequence[Tile]) -> States:
    """Return the states of a frame for other tiles of the same area. Without states, there are none for any tile."""
    known = {tile: state for tile, state in states.items() if state is not None}
    if not known:
        return dict.fromkeys(cut)
    any_tile, any_state = next(iter(known.items()))
    tops, bottoms, lefts, rights = zip(*(tile.inner for tile in known), strict=True)
    area = min(tops), max(bottoms), min(lefts), max(rights)
    result: States = {}
    for tile in cut:
        features = {}
        for name, example in any_state.features.items():
            factor = (any_tile.outer[1] - any_tile.outer[0]) // example.shape[-2]
            height, width = tile.outer[1] - tile.outer[0], tile.outer[3] - tile.outer[2]
            features[name] = example.new_zeros(*example.shape[:-2], height // factor, width // factor)
            for old, state in known.items():
                part = _owned(old, area)
                _paste(features[name], tile.outer, state.features[name], old.outer, part, factor)
        result[tile] = State(any_state.num_frames, features)
    return result


def _owned(tile: Tile, area: Area) -> Area:
    """Return where a tile's features are exact: its inner area, and the halo outside of the area that is decoded."""
    y0, y1, x0, x1 = (
        outer if inner == end else inner for inner, outer, end in zip(tile.inner, tile.outer, area, strict=True)
    )
    return y0, y1, x0, x1


def _paste(onto: Tensor, onto_area: Area, x: Tensor, x_area: Area, area: Area, factor: int) -> None:
    """Copy from `x` what lies in `area` and in `onto`. Areas are in pixels, tensors at 1/factor of their size."""
    y0, y1 = max(area[0], onto_area[0]), min(area[1], onto_area[1])
    x0, x1 = max(area[2], onto_area[2]), min(area[3], onto_area[3])
    if y0 < y1 and x0 < x1:
        part = (y0 - x_area[0], y1 - x_area[0], x0 - x_area[2], x1 - x_area[2])
        place = (y0 - onto_area[0], y1 - onto_area[0], x0 - onto_area[2], x1 - onto_area[2])
        _cut(onto, place, factor).copy_(_cut(x, part, factor))


def _cut(x: Tensor, area: Area, factor: int = 1) -> Tensor:
    y0, y1, x0, x1 = (side // factor for side in area)
    return x[..., y0:y1, x0:x1]


def _relative(tile: Tile) -> Area:
    top, _, left, _ = tile.outer
    y0, y1, x0, x1 = tile.inner
    return y0 - top, y1 - top, x0 - left, x1 - left
