"""PatchVSR as a diffusers pipeline: a clip in, a larger clip out, in memory that the patch size bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils import BaseOutput
from torch import Generator, Tensor

from patchvsr.errors import ModelError, SettingsError
from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.checkpoint import load_adapter, read_config
from patchvsr.models.mini.autoencoder import MiniAutoencoder  # noqa: F401  (a saved pipeline names it)
from patchvsr.models.registry import MODEL_FILES, download, find_base, is_adapter, resolve_model
from patchvsr.models.restoration import estimate_restoration
from patchvsr.models.tiles import decode_tiled, encode_condition_tiled
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.version_0_1 import OLD_FOLDER, load_old_autoencoder, updated_index
from patchvsr.models.wan_base.base import load_base
from patchvsr.patches.grid import Area, WeightedBox, grown, needed_boxes, padded_length, tiling
from patchvsr.pixels.color_match import match_color_, reach_px
from patchvsr.pixels.formats import as_frames, as_output, pad_frames, target_size
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.sampling.conditions import ClipConditions
from patchvsr.sampling.joint import Velocity, denoise
from patchvsr.sampling.noise import noise_frames
from patchvsr.sampling.schedule import set_steps
from patchvsr.sampling.velocity import NeededVelocity, PatchVelocity

# Noise for augmentation and noise to denoise must not be the same numbers.
AUGMENTATION_SEED_OFFSET = 1 << 32
OUTPUT_TYPES = ("pt", "np", "pil", "latent")
HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only")


@dataclass
class PatchVSROutput(BaseOutput):
    """The restored clip, and what to pass on to the next chunk of its shot.

    `latents`: (C, T, h, w), None for 0 steps. `restoration`: as given or estimated, None where nothing was decoded.
    """

    frames: Tensor | np.ndarray | list[Any]
    latents: Tensor | None = None
    restoration: float | None = None


class PatchVSRPipeline(DiffusionPipeline):
    """Restores a low-quality clip patch by patch (Du et al., CVPR 2025).

    Config:
        patch_px: side of a patch on the canvas, the one size the base knows.
        patch_frames: frames of a patch, 4k+1; longer clips are joined in time like patches in space.
        num_inference_steps, joint_mode, noise_timestep: the model's defaults.
    """

    model_cpu_offload_seq = "transformer->vae"
    _optional_components = ["scheduler"]  # noqa: RUF012  (as diffusers declares it); version 0.1 kept none

    def __init__(
        self,
        transformer: PatchVSRTransformer3DModel,
        vae: Autoencoder,
        scheduler: FlowMatchEulerDiscreteScheduler | None = None,
        patch_px: int = 512,
        patch_frames: int = 17,
        num_inference_steps: int = 1,
        joint_mode: str = "auxiliary",
        noise_timestep: float = 0.0,
    ):
        super().__init__()
        scheduler = scheduler or FlowMatchEulerDiscreteScheduler()
        self.register_modules(transformer=transformer, vae=vae, scheduler=scheduler)
        self.register_to_config(
            patch_px=patch_px,
            patch_frames=patch_frames,
            num_inference_steps=num_inference_steps,
            joint_mode=joint_mode,
            noise_timestep=noise_timestep,
        )

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "mini", **kwargs: Any) -> PatchVSRPipeline:
        """Loads a model by name ("mini" is bundled), from a folder or from the Hub; safetensors only.

        An adapter is loaded around its base, see `from_adapter`. Raises ModelError where there is no such model, it is
        incomplete, or it is neither cached nor to be downloaded.
        """
        folder = Path(resolve_model(name_or_path))
        hub_options = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        if not folder.is_dir():
            folder = download(folder.as_posix(), MODEL_FILES, **hub_options)
        if is_adapter(folder):
            return cls.from_adapter(folder, **kwargs)
        kwargs.setdefault("use_safetensors", True)
        try:
            if (folder / OLD_FOLDER).is_dir():
                kwargs.setdefault("vae", load_old_autoencoder(folder, kwargs.get("dtype")))
            return super().from_pretrained(folder, **kwargs)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"cannot load model {str(name_or_path)!r}: {reason}") from error

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """The contents of `model_index.json`; those of version 0.1 under today's names."""
        config = super().load_config(*args, **kwargs)
        return updated_index(config) if isinstance(config, dict) else config

    @classmethod
    def from_adapter(
        cls, folder: str | Path, *, base: str | None = None, dtype: torch.dtype = torch.float32
    ) -> PatchVSRPipeline:
        """Loads an adapter's folder around the base that it names, or around `base`: a name, Hub name or folder.

        Raises ModelError for a folder that is incomplete, or a base that is missing or does not fit.
        """
        folder = Path(folder)
        config = read_config(folder)
        base = base or config.get("base")
        if base is None:
            raise ModelError(f"{folder} names no base: give base=")
        own = next((part for part in (folder / "vae", folder / OLD_FOLDER) if part.is_dir()), None)
        transformer, vae = load_base(base, dtype=dtype, autoencoder_folder=own)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=find_base(base).flow_shift)
        try:
            return cls(load_adapter(transformer, folder), vae, scheduler, **config.get("pipeline", {}))
        except TypeError as error:
            raise ModelError(f"{folder} was made for another version of patchvsr: {error}") from None

    @torch.no_grad()
    def __call__(
        self,
        video: Tensor | np.ndarray | Sequence[Any],
        *,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        num_inference_steps: int | None = None,
        joint_mode: str | None = None,
        generator: Generator | None = None,
        seed: int | None = None,
        restoration: float | None = None,
        noise_timestep: float | None = None,
        branch_scale: float = 1.0,
        batch_size: int = 1,
        tile_px: int = 1280,
        first_frame: int = 0,
        known_latents: Tensor | None = None,
        color_match: bool = True,
        area: Area | None = None,
        output_type: str = "pt",
        callback_on_step_end: Callable[..., dict[str, Any] | None] | None = None,
        return_dict: bool = True,
    ) -> PatchVSROutput | tuple[Any, ...]:
        """Upscales one clip.

        Args:
            video: (F, 3, h, w) tensor or (F, h, w, 3) array in [0, 1] (uint8 arrays: 0 to 255), or PIL images.
            scale: canvas size / input size; 4 if neither this nor `size` is given.
            size: (width, height) of the output in pixels, instead of `scale`.
            num_inference_steps: denoising steps; 0 decodes without latents, a feed-forward preview.
            joint_mode: auxiliary (the paper's), overlap, shifted or independent.
            generator, seed: source of the noise; seed 0 if neither is given.
            restoration: how degraded the input is taken to be by the decoder, from 0 (only made smaller: every detail
                is kept and sharpened) to 1 (noise, blur and compression are taken away); estimated if not given.
            noise_timestep: noise augmentation of the patch's input, 0 to 1000; more invents more.
            branch_scale: strength of the patch branch.
            batch_size: patches per model call; on a CPU the result does not depend on it, elsewhere by rounding only.
            tile_px: largest side of an autoencoder tile, halo aside; bounds memory.
            first_frame: place of the clip's first frame in the whole video, a multiple of 4: noise belongs to places.
            known_latents: latents (C, T', h, w) of the clip's first frames, handed over from the chunk before.
            color_match: take tints and drifts of colour against the input back, see `match_color_`.
            area: (y0, y1, x0, x1) in pixels of the output: only this is returned, as it is in the whole. What it does
                not depend on is not computed, so latents are good for nothing but this area.
            output_type: "pt" (F, 3, H, W), "np" (F, H, W, 3), "pil"; or "latent" to skip decoding.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": ...}) after each step.

        Returns:
            `PatchVSROutput`, or a tuple of its fields.

        Raises:
            SettingsError: a setting out of its range. FloatingPointError: NaN, with the stage named.
        """
        # 1. Input: (F, 3, h, w) in [0, 1], padded by its last frame to 4k+1 frames.
        lq = as_frames(video)
        num_frames = lq.shape[0]
        width, height = target_size(lq, scale, size)
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        noise_timestep = self.config.noise_timestep if noise_timestep is None else noise_timestep
        seed = _seed(generator, seed)
        if steps < 0:
            raise SettingsError(f"num_inference_steps is {steps}: give 0 (preview) or more")
        if not 0 <= noise_timestep <= 1000:
            raise SettingsError(f"noise_timestep is {noise_timestep}: it must lie between 0 and 1000")
        self.check_restoration(restoration)
        if batch_size < 1:
            raise SettingsError(f"batch_size is {batch_size}: it must be at least 1")
        if first_frame % self.vae.temporal_factor:
            raise SettingsError(f"first_frame is {first_frame}: it must be a multiple of {self.vae.temporal_factor}")
        if output_type not in OUTPUT_TYPES:
            raise SettingsError(f"unknown output_type {output_type!r}: choose one of {', '.join(OUTPUT_TYPES)}")
        lq = pad_frames(lq, self.vae.temporal_factor)

        # 2. Canvas: (3, F, H, W) in [-1, 1], padded to whole tokens and at least one patch.
        canvas = self._canvas(lq, height, width)
        enlarged_by = height / lq.shape[-2]

        if area is not None:
            _check_area(area, height, width)
            margin = reach_px((height, width), (lq.shape[-2], lq.shape[-1])) if color_match else 0
            decoded_area = grown(area, margin, self.vae.spatial_factor, (canvas.shape[-2], canvas.shape[-1]))
        else:
            decoded_area = None

        # 3. Latents: jointly denoised, or none at all.
        latents = None
        if steps > 0:
            conditions = self._conditions(canvas, noise_timestep, enlarged_by, seed, first_frame)
            joint_mode = joint_mode or self.config.joint_mode
            latents = self._denoise(
                conditions, steps, joint_mode, seed, first_frame, branch_scale, batch_size, known_latents,
                callback_on_step_end, decoded_area,
            )  # fmt: skip

        # 4. Pixels, cropped back to the target size and the true number of frames, in the colours of the input.
        frames: Any = latents
        if output_type != "latent":
            cells = torch.zeros(self._latent_shape(canvas)) if latents is None else latents
            if restoration is None and self.vae.takes_restoration:
                restoration = estimate_restoration(self.vae, canvas, (height, width), enlarged_by)
            decoded = decode_tiled(
                self.vae, cells, canvas, tile_px,
                restoration=restoration or 0.0, scale=enlarged_by, area=decoded_area,
            )  # fmt: skip
            if not torch.isfinite(decoded).all():
                raise FloatingPointError("decoding produced NaN or infinity: try dtype float32")
            shown = np.s_[:, :num_frames, :height, :width]
            frames = decoded[shown].clamp_(-1, 1)
            if color_match:
                frames = match_color_(frames, canvas[shown], (lq.shape[-2], lq.shape[-1]))
            if area is not None:
                frames = frames[..., area[0] : area[1], area[2] : area[3]]
            frames = as_output(frames.transpose(0, 1).add_(1).div_(2), output_type)
        self.maybe_free_model_hooks()
        return PatchVSROutput(frames, latents, restoration) if return_dict else (frames, latents, restoration)

    def check_restoration(self, restoration: float | None) -> None:
        """Raises SettingsError for a value out of range, or any value where the decoder makes no use of it."""
        if restoration is not None and not self.vae.takes_restoration:
            raise SettingsError(f"restoration is {restoration}: the decoder of this model knows no such setting")
        if restoration is not None and not 0 <= restoration <= 1:
            raise SettingsError(f"restoration is {restoration}: it must lie between 0 and 1")

    def count_patches(self, num_frames: int, size: tuple[int, int], joint_mode: str | None = None) -> int:
        """Patches of one denoising step for a clip of 4k+1 frames at `size` (width, height)."""
        cell, token = self.vae.spatial_factor, self.transformer.config.patch_size
        cells = self.config.patch_px // cell
        sides = [padded_length(-(-side // cell), cells, token[1]) for side in (size[1], size[0])]
        latent_frames = (num_frames - 1) // self.vae.temporal_factor + 1
        frames = min(latent_frames, (self.config.patch_frames - 1) // self.vae.temporal_factor + 1)
        mode = joint_mode or self.config.joint_mode
        return len(tiling((latent_frames, *sides), (frames, cells, cells), mode, multiple=token))

    # --- steps of __call__ --------------------------------------------------------------------------------

    def _canvas(self, lq: Tensor, height: int, width: int) -> Tensor:
        cell = self.vae.spatial_factor
        token = self.transformer.config.patch_size[1] * cell
        padded = [padded_length(side, self.config.patch_px, token) for side in (height, width)]
        margins = (0, padded[1] - width, 0, padded[0] - height)
        canvas = torch.empty(3, lq.shape[0], *padded)
        for index in range(lq.shape[0]):  # frame by frame: a canvas of 4K should not be held twice
            frame = resize_bicubic(lq[index : index + 1], (height, width)).mul_(2).sub_(1)
            canvas[:, index] = torch.nn.functional.pad(frame, margins, mode="replicate")[0]
        return canvas

    def _latent_shape(self, canvas: Tensor) -> tuple[int, int, int, int]:
        _, num_frames, height, width = canvas.shape
        factor = self.vae.spatial_factor
        latent_frames = (num_frames - 1) // self.vae.temporal_factor + 1
        return self.vae.latent_channels, latent_frames, height // factor, width // factor

    def _conditions(
        self, canvas: Tensor, noise_timestep: float, scale: float, seed: int, first_frame: int
    ) -> ClipConditions:
        patch_px = self.config.patch_px
        view = torch.cat([_shrink(canvas[:, i : i + 1], patch_px) for i in range(canvas.shape[1])], dim=1)
        canvas_latents = encode_condition_tiled(self.vae, canvas, patch_px)
        channels, _, height, width = canvas_latents.shape
        first_latent = first_frame // self.vae.temporal_factor
        if noise_timestep > 0:
            seed = seed + AUGMENTATION_SEED_OFFSET
            noise = noise_frames(seed, first_latent, canvas_latents.shape[1], (channels, height, width))
        else:
            noise = torch.zeros(()).expand(canvas_latents.shape)
        return ClipConditions(
            canvas_latents=canvas_latents,
            global_latents=encode_condition_tiled(self.vae, view, patch_px),
            noise=noise,
            noise_timestep=noise_timestep,
            scale=scale,
        )

    def _denoise(
        self,
        conditions: ClipConditions,
        steps: int,
        joint_mode: str,
        seed: int,
        first_frame: int,
        branch_scale: float,
        batch_size: int,
        known_latents: Tensor | None,
        callback: Callable[..., dict[str, Any] | None] | None,
        area: Area | None,
    ) -> Tensor:
        factor, token = self.vae.temporal_factor, self.transformer.config.patch_size
        channels = self.vae.latent_channels
        _, latent_frames, height, width = conditions.canvas_latents.shape
        patch_cells = self.config.patch_px // self.vae.spatial_factor
        patch = (min(latent_frames, (self.config.patch_frames - 1) // factor + 1), patch_cells, patch_cells)
        velocity: Velocity = PatchVelocity(
            self.transformer,
            conditions,
            device=self._execution_device,
            branch_scale=branch_scale,
            reuse_features=steps > 1 and joint_mode != "shifted",  # otherwise no box comes twice
        )

        def tilings(step: int) -> tuple[WeightedBox, ...]:
            return tiling((latent_frames, height, width), patch, joint_mode, multiple=token, step=step)

        scheduler = set_steps(self.scheduler, steps)
        if area is not None:
            cell = self.vae.spatial_factor
            seen = grown(area, self.vae.decoder_halo_px, cell, (height * cell, width * cell))
            needed = needed_boxes([tilings(step) for step in range(steps)], _in_cells(seen, cell))
            velocity = NeededVelocity(velocity, dict(zip(scheduler.timesteps.tolist(), needed, strict=True)))

        def on_step(step: int, _: int, latents: Tensor) -> Tensor | None:
            if callback is None:
                return None
            answer = callback(self, step, scheduler.timesteps[step], {"latents": latents})
            return (answer or {}).get("latents")

        noise = noise_frames(seed, first_frame // factor, latent_frames, (channels, height, width))
        return denoise(velocity, noise, tilings, scheduler, batch_size=batch_size, known=known_latents, on_step=on_step)


def _check_area(area: Area, height: int, width: int) -> None:
    y0, y1, x0, x1 = area
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise SettingsError(f"area is {area}: rows y0 to y1 and columns x0 to x1 must lie in {width}x{height} pixels")


def _in_cells(area: Area, cell: int) -> Area:
    y0, y1, x0, x1 = (side // cell for side in area)
    return y0, y1, x0, x1


def _shrink(frame: Tensor, side: int) -> Tensor:
    """One frame (3, 1, H, W) in [-1, 1] of the canvas at the size of the global view."""
    return resize_bicubic(frame.transpose(0, 1).add(1).div_(2), (side, side)).mul_(2).sub_(1).transpose(0, 1)


def _seed(generator: Generator | None, seed: int | None) -> int:
    if generator is None:
        return seed or 0
    if seed is not None:
        raise SettingsError("give generator or seed, not both")
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))
