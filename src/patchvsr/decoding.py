"""Turn low-quality frames and latents into restored frames, one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.geometry import cells_of, latent_frames
from patchvsr.models.restoration import estimate_restoration, looks
from patchvsr.models.tiles import States, TiledDecoder, encode_condition_tiled, runs
from patchvsr.patches.grid import Area, grown
from patchvsr.pixels.canvas import ClipCanvas
from patchvsr.pixels.color_match import match_color_, reach_px
from patchvsr.pixels.compare import check_decoded
from patchvsr.settings import ResolvedSettings


@dataclass(frozen=True)
class ClipState:
    """What a clip hands on to the next one of its shot, which begins with its last `overlap_frames` frames.

    latents: (C, T, h, w) of the frames that both share, as the next clip has them; None for 0 steps.
    restoration: the same for a whole shot; None if the model has no such setting.
    decoder: states of the autoencoder's tiles; empty if it does not stream.
    """

    latents: Tensor | None
    restoration: float | None
    decoder: States = field(default_factory=dict)


class ClipDecoder:
    """Decode a clip: canvas, autoencoder, colour match. Continues where the previous clip of its shot ended.

    canvas: of the clip. latents: (C, T, h, w), None for 0 steps.
    encoder_tile_px: largest side of the tiles in which the last frames are encoded for the next clip.
    previous: state of the previous clip of the shot. The frames that both share are not returned again.
    area: only this area of the output is decoded, see `PatchVSRPipeline.__call__`.
    """

    @torch.no_grad()
    def __init__(
        self,
        autoencoder: Autoencoder,
        canvas: ClipCanvas,
        latents: Tensor | None,
        settings: ResolvedSettings,
        *,
        encoder_tile_px: int,
        previous: ClipState | None = None,
        area: Area | None = None,
    ):
        self._autoencoder, self._canvas, self._latents, self._settings = autoencoder, canvas, latents, settings
        self._encoder_tile_px = encoder_tile_px
        self._area, self._new = area, range(settings.overlap_frames if previous else 0, canvas.num_frames)
        self.restoration = settings.restoration if previous is None else previous.restoration
        if self.restoration is None and autoencoder.takes_restoration:
            seen = (map(canvas.__getitem__, look) for look in looks(range(canvas.num_frames)))
            self.restoration = estimate_restoration(autoencoder, seen, canvas.size, canvas.scale)
        self._decoder = TiledDecoder(
            autoencoder,
            restoration=self.restoration or 0.0,
            scale=canvas.scale,
            detail=settings.detail,
            area=None if area is None else decoded_area(autoencoder, canvas, settings, area),
            states=previous.decoder if previous else None,
        )

    @property
    def state(self) -> ClipState:
        """What the next clip of the shot starts from, once all runs are decoded."""
        return ClipState(self._shared_latents(), self.restoration, self._decoder.states)

    def runs(self) -> list[range]:
        """Return the frames of the clip to decode at once, in order."""
        # An autoencoder that does not stream knows nothing of the previous clip, so it decodes the whole clip.
        frames = self._new if self._autoencoder.streaming else range(len(self._canvas))
        return list(runs(self._autoencoder, frames))

    @torch.no_grad()
    def decode(self, run: range, tile_px: int) -> Tensor:
        """Return the new frames of a run, (F, 3, H, W) in [0, 1]. Runs must be decoded in order, each once.

        `tile_px` does not change the result.

        Raises FloatingPointError if the decoder produced NaN or infinity, and UnfaithfulError if a frame does not show
        what the canvas shows, unless `check` is off.
        """
        frames = [self._canvas[number] for number in run]
        canvas = torch.stack(frames, dim=1) if len(frames) > 1 else frames[0].unsqueeze(1)
        decoded = self._decoder.decode(self._cells(run), canvas, tile_px)
        if not all(bound.isfinite() for bound in decoded.aminmax()):
            raise FloatingPointError("decoding produced NaN or infinity: try dtype float32")
        width, height = self._canvas.size
        new = [number - run.start for number in run if number in self._new]
        shown = np.s_[:, : new[-1] + 1, :height, :width]
        video = decoded[shown].clamp_(-1, 1)
        if self._settings.check:
            check_decoded(video, canvas[shown], self._canvas.source, run.start)
        if self._settings.color_match:
            video = match_color_(video, canvas[shown], self._canvas.source)
        if not self._autoencoder.streaming:
            self._last = video[:, -self._settings.overlap_frames :].clone()
        if self._area is not None:
            y0, y1, x0, x1 = self._area
            video = video[..., y0:y1, x0:x1]
        return video[:, new[0] :].transpose(0, 1).add_(1).div_(2)

    def decode_all(self, tile_px: int) -> Tensor:
        """Return all new frames of the clip, (F, 3, H, W) in [0, 1]."""
        done, result = 0, torch.empty(0)
        for run in self.runs():
            frames = self.decode(run, tile_px)
            if not done:
                result = frames.new_empty(len(self._new), *frames.shape[1:])
            result[done : done + len(frames)] = frames
            done += len(frames)
        return result

    @torch.no_grad()
    def _shared_latents(self) -> Tensor | None:
        """Return the latents of the frames that the next clip begins with.

        With an autoencoder that does not stream, every clip begins with a latent of one frame. In this clip, the last
        latent covers four, so the restored frames are encoded anew. They have the input's colours, so no drift adds up
        from clip to clip.
        """
        if self._latents is None or self._autoencoder.streaming:
            return None if self._latents is None else self._latents[:, -latent_frames(self._settings.overlap_frames) :]
        size, padded = self._canvas.size, self._canvas.padded
        margins = 0, padded.width - size.width, 0, padded.height - size.height
        frames = F.pad(self._last, margins, mode="replicate").unbind(1)
        return self._autoencoder.latents_of(
            encode_condition_tiled(self._autoencoder, frames, padded, self._encoder_tile_px)
        )

    def _cells(self, run: range) -> Tensor | None:
        """Return the latents (C, T, h, w) of a run, None for 0 steps."""
        return None if self._latents is None else self._latents[:, cells_of(run)]


def decoded_area(autoencoder: Autoencoder, canvas: ClipCanvas, settings: ResolvedSettings, area: Area) -> Area:
    """Return the area to decode for `area` of the output: what the colour match reaches, in whole latent cells."""
    margin = reach_px(canvas.size, canvas.source) if settings.color_match else 0
    return grown(area, margin, autoencoder.geometry.spatial_factor, canvas.padded)
