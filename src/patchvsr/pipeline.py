"""PatchVSR as a diffusers pipeline: upscale a clip in memory bounded by the patch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils import BaseOutput
from torch import Generator, Tensor

from patchvsr.decoding import ClipDecoder, ClipState, decoded_area
from patchvsr.errors import ModelError, SettingsError
from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.checkpoint import load_adapter, read_config
from patchvsr.models.geometry import TEMPORAL_FACTOR, clip_length, latent_frames
from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder  # noqa: F401  (saved pipelines refer to it)
from patchvsr.models.registry import (
    LIGHT_DECODER,
    MODEL_FILES,
    OWN_AUTOENCODER,
    download,
    find_base,
    is_adapter,
    resolve_model,
)
from patchvsr.models.tiles import decode_tiled, encode_condition_tiled
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.version_0_1 import OLD_FOLDER, load_old_autoencoder, updated_index
from patchvsr.models.wan_base.base import load_base, load_part, new_scheduler, new_transformer
from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.models.wan_base.light_decoder import LightDecoder
from patchvsr.models.wan_base.prompt import cached_prompt
from patchvsr.patches.grid import Area, WeightedBox, grown, needed_boxes, padded_length, tiling
from patchvsr.pixels.canvas import ClipCanvas
from patchvsr.pixels.formats import as_frames, as_output
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size, check_scale_or_size, target_size
from patchvsr.sampling.coarse import ChangedCanvas
from patchvsr.sampling.conditions import ClipConditions
from patchvsr.sampling.joint import Velocity, denoise
from patchvsr.sampling.noise import noise_frames
from patchvsr.sampling.parallel import ALONE, Alone
from patchvsr.sampling.schedule import Scheduler, set_steps
from patchvsr.sampling.velocity import NeededVelocity, PatchVelocity
from patchvsr.settings import ResolvedSettings, RestoreSettings

# Augmentation noise, noise of the coarse pass and initial noise must be independent.
AUGMENTATION_SEED_OFFSET, COARSE_SEED_OFFSET = 1 << 32, 1 << 33
# Of a base without an adapter: enough noise for it to add something, little enough to keep what the input shows.
PLAIN_STEPS, PLAIN_STRENGTH = 4, 0.3
Callback = Callable[..., dict[str, Any] | None]
OUTPUT_TYPES = ("pt", "np", "pil", "latent")
HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only")


@dataclass
class PatchVSROutput(BaseOutput):
    """The restored clip.

    latents: (C, T, h, w), None for 0 steps. restoration: as given or estimated, None if nothing was decoded.
    state: what the next clip of the shot starts from, None if nothing was decoded.
    """

    frames: Tensor | np.ndarray | list[Any] | None
    latents: Tensor | None = None
    restoration: float | None = None
    state: ClipState | None = None


class PatchVSRPipeline(DiffusionPipeline):
    """Restore a low-quality clip patch by patch (Du et al., CVPR 2025).

    Without a transformer it is feed-forward: 0 steps, the restorer alone.

    Config:
        patch_px: side of a patch in canvas pixels, the native size of the base.
        patch_frames: frames of a patch, 4k+1. Longer clips are split into patches in time as in space.
        num_inference_steps, joint_mode, noise_timestep, detail, strength: the model's defaults.
        still_noise: start every frame from the same noise, as a model trained so needs it.
    """

    model_cpu_offload_seq = "transformer->vae"
    _optional_components = ["transformer", "scheduler"]  # noqa: RUF012  (as diffusers declares it); 0.1 saved no scheduler

    def __init__(
        self,
        transformer: PatchVSRTransformer3DModel | None,
        vae: Autoencoder,
        scheduler: Scheduler | None = None,
        patch_px: int = 512,
        patch_frames: int = 17,
        num_inference_steps: int = 1,
        joint_mode: str = "auxiliary",
        noise_timestep: float = 0.0,
        detail: float = 1.0,
        strength: float | None = None,
        still_noise: bool = False,
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
            detail=detail,
            strength=strength,
            still_noise=still_noise,
        )
        self.devices: Alone = ALONE  # that share the patches of a clip, see `sampling.parallel`

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "mini", **kwargs: Any) -> PatchVSRPipeline:
        """Load a model by name ("mini" is bundled), from a folder or from the Hub; safetensors only.

        An adapter is loaded with its base, see `from_adapter`. Raises ModelError if the model does not exist, is
        incomplete, or is neither cached nor downloadable.
        """
        folder = Path(resolve_model(name_or_path))
        base = kwargs.pop("base", None)
        hub_options = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        if not folder.is_dir():
            folder = download(folder.as_posix(), MODEL_FILES, **hub_options)
        if is_adapter(folder):
            return cls.from_adapter(folder, base=base, **kwargs)
        if base is not None:
            raise ModelError(f"{name_or_path} is a whole model: it takes no other base")
        kwargs.setdefault("use_safetensors", True)
        try:
            if (folder / OLD_FOLDER).is_dir() and not (folder / "vae").is_dir():
                kwargs.setdefault("vae", load_old_autoencoder(folder, kwargs.get("dtype")))
            return super().from_pretrained(folder, **kwargs)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"cannot load model {str(name_or_path)!r}: {reason}") from error

    @classmethod
    def from_base(cls, base: str, *, dtype: torch.dtype = torch.float32) -> PatchVSRPipeline:
        """Load a base without an adapter: it refines the latents of the input from a low noise level on (`strength`).

        base: a name, Hub name or folder, whose prompt `patchvsr cache-prompt` has encoded. Raises ModelError otherwise.
        """
        transformer, vae = new_transformer(base, cached_prompt(base), dtype=dtype, num_branch_blocks=0)
        known = find_base(base)
        return cls(
            transformer.eval(), vae, new_scheduler(base), patch_px=known.patch_px, patch_frames=known.patch_frames,
            num_inference_steps=PLAIN_STEPS, strength=PLAIN_STRENGTH,
        )  # fmt: skip

    @classmethod
    def load_config(cls, folder: str | Path, **kwargs: Any) -> Any:
        """Return the contents of `model_index.json`, with entries of version 0.1 renamed."""
        config = super().load_config(folder, **kwargs)
        return updated_index(config, folder) if isinstance(config, dict) else config

    @classmethod
    def from_adapter(
        cls, folder: str | Path, *, base: str | None = None, dtype: torch.dtype = torch.float32
    ) -> PatchVSRPipeline:
        """Load an adapter with the base that it names, or with `base`: a name, Hub name or folder.

        A light decoder in the folder replaces the base's own.

        Raises ModelError if the folder is incomplete, or if the base is missing or does not fit.
        """
        folder = Path(folder)
        config = read_config(folder)
        base = base or config.get("base")
        if base is None:
            raise ModelError(f"{folder} names no base: give base=")
        own = next((part for part in (folder / OWN_AUTOENCODER, folder / OLD_FOLDER) if part.is_dir()), None)
        transformer, vae = load_base(base, dtype=dtype, autoencoder_folder=own)
        if (folder / LIGHT_DECODER).is_dir():
            decoder = load_part(LightDecoder, folder / LIGHT_DECODER, dtype=dtype, use_safetensors=True)
            vae = LightAutoencoder.of(vae, decoder)
        try:
            return cls(load_adapter(transformer, folder), vae, new_scheduler(base), **config.get("pipeline", {}))
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
        detail: float | None = None,
        strength: float | None = None,
        batch_size: int = 1,
        tile_px: int | None = None,
        first_frame: int = 0,
        previous: ClipState | None = None,
        overlap_frames: int = 1,
        color_match: bool = True,
        area: Area | None = None,
        output_type: str = "pt",
        callback_on_step_end: Callback | None = None,
        return_dict: bool = True,
    ) -> PatchVSROutput | tuple[Any, ...]:
        """Upscale one clip.

        Args:
            video: (F, 3, h, w) tensor or (F, h, w, 3) array in [0, 1] (uint8 arrays: 0 to 255), or PIL images.
            scale: output size / input size; 4 if neither this nor `size` is given.
            size: (width, height) of the output in pixels, instead of `scale`.
            num_inference_steps: denoising steps; 0 decodes without latents.
            joint_mode: auxiliary (the paper's), overlap, shifted or independent.
            generator: source of the noise.
            seed: a number instead of `generator`; 0 if neither is given.
            restoration: how degraded the decoder assumes the input to be, from 0 (only downscaled: every detail is
                kept and sharpened) to 1 (noise, blur and compression are removed); estimated if not given.
            noise_timestep: noise augmentation of the patch's input, 0 to 1000; higher values invent more detail.
            branch_scale: strength of the patch branch.
            detail: share of the generated detail that is added, 0 (faithful; takes no steps) to 2; 1 is as trained.
            strength: noise level to start from, above 0 to 1, with the input's latents below it; noise alone if not
                given.
            batch_size: patches per model call. On a CPU it does not change the result, elsewhere only by rounding.
            tile_px: largest side of an autoencoder tile without its halo; bounds memory. The autoencoder's by default.
            first_frame: position of the clip's first frame in the video, a multiple of 4. It selects the noise.
            previous: `state` of the previous clip of the shot, which this one continues. Its last `overlap_frames`
                frames must be the first ones of this clip; they are not returned again.
            overlap_frames: 4k+1.
            color_match: match the low frequencies of the output to the input, see `match_color_`.
            area: (y0, y1, x0, x1) in output pixels. Only this area is returned, with the same pixels as in the whole
                frame. What it does not depend on is not computed, so the latents are valid for this area only.
            output_type: "pt" (F, 3, H, W), "np" (F, H, W, 3), "pil"; or "latent" to skip decoding.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": ...}) after each step.

        Returns:
            `PatchVSROutput`, or a tuple of its fields.

        Raises:
            SettingsError: a setting is out of range.
            FloatingPointError: a stage, named in the message, produced NaN or infinity.
        """
        lq = as_frames(video)
        settings = RestoreSettings(
            scale=scale, num_inference_steps=num_inference_steps, joint_mode=joint_mode, seed=_seed(generator, seed),
            restoration=restoration, noise_timestep=noise_timestep, branch_scale=branch_scale, detail=detail,
            strength=strength, batch_size=batch_size, tile_px=tile_px, color_match=color_match,
            overlap_frames=overlap_frames, check=False,
        )  # fmt: skip
        target = self.check_inputs(lq, settings, size, output_type)
        restored = self.restore(
            lq, target, self.resolve(settings), first_frame=first_frame, previous=previous, area=area,
            decode=output_type != "latent", callback_on_step_end=callback_on_step_end,
        )  # fmt: skip
        if isinstance(restored.frames, Tensor):
            restored.frames = as_output(restored.frames, output_type)
        else:
            restored.frames = restored.latents
        if return_dict:
            return restored
        return restored.frames, restored.latents, restored.restoration, restored.state

    def check_inputs(
        self, lq: Tensor, settings: RestoreSettings, size: tuple[int, int] | None, output_type: str
    ) -> Size:
        """Return the output size. Raises SettingsError for arguments of a call that are invalid or contradictory."""
        check_scale_or_size(settings.scale, size)
        if size is not None and min(size) < 1:
            raise SettingsError(f"size is {size[0]}x{size[1]}: both sides must be at least 1")
        if output_type not in OUTPUT_TYPES:
            raise SettingsError(f"unknown output_type {output_type!r}: choose one of {', '.join(OUTPUT_TYPES)}")
        return Size(*size) if size is not None else target_size(Size.of(lq), settings.scale, None, allow_smaller=True)

    def resolve(self, settings: RestoreSettings) -> ResolvedSettings:
        """Return the settings with this model's defaults filled in, as all stages use and jobs record them.

        Raises SettingsError if `restoration` or `detail` is set but the decoder does not take it, and if the model has
        no transformer to take the steps.
        """
        if settings.restoration is not None and not self.vae.takes_restoration:
            raise SettingsError(f"restoration is {settings.restoration}: the decoder of this model has no such setting")
        if settings.tile_px is None:
            settings = replace(settings, tile_px=self.vae.tile_px)
        resolved = settings.resolved(self.config)
        if resolved.detail != 1 and not self.vae.encodes_residual:
            raise SettingsError(f"detail is {resolved.detail:g}: this model does not add detail to a restored frame")
        if self.transformer is None and resolved.num_inference_steps:
            steps = resolved.num_inference_steps
            raise SettingsError(f"num_inference_steps is {steps}: this model has no transformer; give 0")
        # Where clips do not depend on those before, units are independent in any case, and the bytes are the same.
        return replace(resolved, independent_units=resolved.independent_units and self.chains_clips(resolved))

    def chains_clips(self, settings: ResolvedSettings) -> bool:
        """Return whether the latents of a clip depend on the clip before it, and so on that one's predecessor.

        They see its latents below full noise only, and so not in a single step from noise alone, unless the autoencoder
        decodes them together with those of the clip.
        """
        if not self.vae.streaming:
            return settings.num_inference_steps > 0
        if settings.num_inference_steps != 1:
            return settings.num_inference_steps > 1
        return float(set_steps(self.scheduler, 1, settings.strength or 1.0).sigmas[0]) != 1

    @torch.no_grad()
    def restore(
        self,
        lq: Tensor,
        size: Size,
        settings: ResolvedSettings,
        *,
        first_frame: int = 0,
        previous: ClipState | None = None,
        area: Area | None = None,
        decode: bool = True,
        callback_on_step_end: Callback | None = None,
    ) -> PatchVSROutput:
        """Restore a clip (F, 3, h, w) in [0, 1] at `size`. Arguments and errors are those of `__call__`.

        The frames of the result are (F, 3, H, W) in [0, 1], or None without `decode`.
        """
        latents = self.denoise(
            lq, size, settings, first_frame=first_frame, previous=previous, area=area,
            callback_on_step_end=callback_on_step_end,
        )  # fmt: skip
        if decode:
            decoder = self.decoder(lq, size, settings, latents, previous=previous, area=area)
            output = PatchVSROutput(decoder.decode_all(settings.tile_px), latents, decoder.restoration, decoder.state)
        else:
            output = PatchVSROutput(None, latents, settings.restoration)
        self.maybe_free_model_hooks()
        return output

    @torch.no_grad()
    def denoise(
        self,
        lq: Sequence[Tensor] | Tensor,
        size: Size,
        settings: ResolvedSettings,
        *,
        first_frame: int = 0,
        previous: ClipState | None = None,
        area: Area | None = None,
        callback_on_step_end: Callback | None = None,
    ) -> Tensor | None:
        """Denoise the latents (C, T, h, w) of all patches of a clip jointly; None for 0 steps, or if none are shown.

        lq: frames (3, h, w) in [0, 1]. Other arguments and errors are those of `__call__`.
        """
        if first_frame % TEMPORAL_FACTOR:
            raise SettingsError(f"first_frame is {first_frame}: it must be a multiple of {TEMPORAL_FACTOR}")
        if area is not None:
            _check_area(area, size)
        if settings.num_inference_steps == 0 or settings.detail == 0:
            return None
        if self.longest_clip is not None and len(lq) > self.longest_clip:
            raise SettingsError(
                f"the clip has {len(lq)} frames: this model denoises at most {self.longest_clip} at once; cut it, "
                "and go on with previous="
            )
        if callback_on_step_end is not None and self.devices is not ALONE:
            raise SettingsError("callback_on_step_end could change latents on one device: call without it or alone")
        # The others need no more than this of the state, which holds the decoder's too.
        previous = None if previous is None else ClipState(previous.latents, previous.restoration)
        with self.devices.together(
            lq=lq, size=size, settings=settings, first_frame=first_frame, previous=previous, area=area
        ):
            canvas = self._canvas(lq, size)
            return self._denoise(
                canvas, self._conditions(canvas, settings, first_frame), settings, first_frame,
                previous.latents if previous else None,
                None if area is None else decoded_area(self.vae, canvas, settings, area),
                callback_on_step_end,
            )  # fmt: skip

    def decoder(
        self,
        lq: Sequence[Tensor] | Tensor,
        size: Size,
        settings: ResolvedSettings,
        latents: Tensor | None,
        *,
        previous: ClipState | None = None,
        area: Area | None = None,
    ) -> ClipDecoder:
        """Return the decoder of a clip, which gives its restored frames one by one. Arguments are those of `denoise`.

        latents: what `denoise` returned for the clip.
        """
        return ClipDecoder(
            self.vae, self._canvas(lq, size), latents, settings,
            encoder_tile_px=self.encoder_tile_px(settings), previous=previous, area=area,
        )  # fmt: skip

    @property
    def longest_clip(self) -> int | None:
        """Most frames of a clip that is denoised, None if there is no limit.

        An autoencoder that does not stream has one latent for the first frame of a clip and one for every four others.
        Bases have only seen patches that begin with the former, so patches in time cannot follow one another in a clip.
        """
        return None if self.vae.streaming else self.config.patch_frames

    def encoder_tile_px(self, settings: ResolvedSettings) -> int:
        """Return the largest side of the tiles in which a canvas is encoded.

        An autoencoder that does not stream encodes tiles of the size of a patch, as in training, because its attention
        spans a tile: `tile_px`, which bounds memory, must not change the result.
        """
        return settings.tile_px if self.vae.streaming else self.config.patch_px

    def padded_size(self, size: Size) -> Size:
        """Return the size of the canvas for an output of `size`, padded to whole tokens and at least one patch."""
        cell = self.vae.geometry.spatial_factor
        if self.transformer is None:
            return Size(*(padded_length(side, cell, cell) for side in size))
        token = self.transformer.config.patch_size[1] * cell
        return Size(*(padded_length(side, self.config.patch_px, token) for side in size))

    def has_coarse_pass(self, settings: ResolvedSettings, size: Size) -> bool:
        """Tell whether the global view is restored before the patches of `size`: by a base without an adapter.

        Such a base sees no more than a patch, so without it nothing tells the patches what they have in common.
        """
        if self.transformer is None or self.transformer.has_adapter or settings.strength is None:
            return False
        return self.padded_size(size) != Size(self.config.patch_px, self.config.patch_px)

    def count_patches(self, num_frames: int, size: Size, joint_mode: str) -> int:
        """Return the number of patches per denoising step for a clip of 4k+1 frames at `size`; 0 for no transformer."""
        if self.transformer is None:
            return 0
        canvas = self.padded_size(size)
        shape = self.vae.geometry.latent_shape(num_frames, canvas.height, canvas.width)
        return len(self.boxes(shape, joint_mode))

    def boxes(self, shape: Sequence[int], joint_mode: str, step: int = 0) -> tuple[WeightedBox, ...]:
        """Return the boxes of all patches on latents of `shape` (T, h, w) at one step."""
        side = self.config.patch_px // self.vae.geometry.spatial_factor
        patch = (min(shape[0], latent_frames(self.config.patch_frames)), side, side)
        return tiling(shape, patch, joint_mode, multiple=self.transformer.config.patch_size, step=step)

    # --- steps of `restore` -------------------------------------------------------------------------------

    def _canvas(self, lq: Sequence[Tensor] | Tensor, size: Size) -> ClipCanvas:
        """Return the canvas, padded to whole tokens and at least one patch, and to 4k+1 frames."""
        return ClipCanvas(lq, size, self.padded_size(size), clip_length(len(lq)))

    def _conditions(self, canvas: ClipCanvas, settings: ResolvedSettings, first_frame: int) -> ClipConditions:
        patch_px = self.config.patch_px
        canvas_latents = encode_condition_tiled(self.vae, canvas, canvas.padded, self.encoder_tile_px(settings))
        view = [_shrink(frame, patch_px) for frame in canvas]
        channels, length, height, width = canvas_latents.shape
        if settings.noise_timestep > 0:
            seed = settings.seed + AUGMENTATION_SEED_OFFSET
            noise = noise_frames(seed, first_frame // TEMPORAL_FACTOR, length, (channels, height, width))
        else:
            noise = torch.zeros(()).expand(canvas_latents.shape)
        return ClipConditions(
            canvas_latents=canvas_latents,
            global_latents=encode_condition_tiled(self.vae, view, Size(patch_px, patch_px), patch_px),
            noise=noise,
            noise_timestep=settings.noise_timestep,
            scale=canvas.scale,
        )

    def _denoise(
        self,
        canvas: ClipCanvas,
        conditions: ClipConditions,
        settings: ResolvedSettings,
        first_frame: int,
        known_latents: Tensor | None,
        area: Area | None,
        callback: Callback | None,
    ) -> Tensor:
        steps, joint_mode = settings.num_inference_steps, settings.joint_mode
        shape = conditions.canvas_latents.shape[1:]
        velocity: Velocity = PatchVelocity(
            self.transformer,
            conditions,
            device=self._execution_device,
            branch_scale=settings.branch_scale,
            reuse_features=steps > 1 and joint_mode != "shifted",  # otherwise no box occurs twice
        )

        def tilings(step: int) -> tuple[WeightedBox, ...]:
            return self.boxes(shape, joint_mode, step)

        start = held = None
        if settings.strength is not None:
            start = self.vae.latents_of(conditions.canvas_latents).float()
            if not self.transformer.has_adapter:
                coarse = self.has_coarse_pass(settings, canvas.size)
                start = held = self._coarse(canvas, conditions, settings, first_frame) if coarse else start

        scheduler = set_steps(self.scheduler, steps, settings.strength or 1.0)
        if area is not None and held is None:  # what is held reaches over the whole canvas
            cell = self.vae.geometry.spatial_factor
            seen = grown(area, self.vae.decoder_halo_px, cell, canvas.padded)
            needed = needed_boxes([tilings(step) for step in range(steps)], _in_cells(seen, cell))
            velocity = NeededVelocity(velocity, dict(zip(scheduler.timesteps.tolist(), needed, strict=True)))

        def on_step(step: int, _: int, latents: Tensor) -> Tensor | None:
            if callback is None:
                return None
            answer = callback(self, step, scheduler.timesteps[step], {"latents": latents})
            return (answer or {}).get("latents")

        noise = self.latent_noise(settings.seed, first_frame, shape)
        with self.transformer.keeping_prompt():
            return denoise(
                velocity, noise, tilings, scheduler,
                start=start, held=held, batch_size=settings.batch_size, known=known_latents, on_step=on_step,
                devices=self.devices,
            )  # fmt: skip

    def latent_noise(self, seed: int, first_frame: int, shape: tuple[int, ...]) -> Tensor:
        """Return the noise (C, T, h, w) that latents of `shape` (T, h, w) start from."""
        length, *sides = shape
        of_frame = (self.vae.geometry.latent_channels, *sides)
        first = first_frame // TEMPORAL_FACTOR
        return noise_frames(seed, first, length, of_frame, still=self.config.still_noise)

    def _coarse(
        self, canvas: ClipCanvas, conditions: ClipConditions, settings: ResolvedSettings, first_frame: int
    ) -> Tensor:
        """Return latents of the canvas, changed as the base without an adapter changes the global view.

        It restores the whole frame at its own size, with the same strength. The patches start from there and keep its
        low frequencies.
        """
        patch_px, latents = self.config.patch_px, conditions.global_latents
        clean, shape = self.vae.latents_of(latents).float(), latents.shape[1:]
        of_view = replace(
            conditions, canvas_latents=latents, noise=torch.zeros(()).expand(latents.shape), noise_timestep=0.0
        )
        velocity = PatchVelocity(self.transformer, of_view, device=self._execution_device)
        noise = self.latent_noise(settings.seed + COARSE_SEED_OFFSET, first_frame, shape)
        scheduler = set_steps(self.scheduler, settings.num_inference_steps, settings.strength or 1.0)
        boxes = self.boxes(shape, "independent")
        with self.transformer.keeping_prompt():
            restored = denoise(velocity, noise, lambda step: boxes, scheduler, start=clean, held=clean)
        view = torch.stack([_shrink(frame, patch_px) for frame in canvas], dim=1)
        after, before = (
            decode_tiled(self.vae, cells, view, patch_px, restoration=0.0, scale=canvas.scale)
            for cells in (restored, clean)
        )
        changed = ChangedCanvas(canvas, after - before)
        condition = encode_condition_tiled(self.vae, changed, canvas.padded, patch_px)
        return self.vae.latents_of(condition).float()


def _check_area(area: Area, size: Size) -> None:
    y0, y1, x0, x1 = area
    if not (0 <= y0 < y1 <= size.height and 0 <= x0 < x1 <= size.width):
        raise SettingsError(f"area is {area}: rows y0 to y1 and columns x0 to x1 must lie in {size} pixels")


def _in_cells(area: Area, cell: int) -> Area:
    y0, y1, x0, x1 = (side // cell for side in area)
    return y0, y1, x0, x1


def _shrink(frame: Tensor, side: int) -> Tensor:
    """Resize a canvas frame (3, H, W) in [-1, 1] to the size of the global view."""
    return resize_bicubic(frame.unsqueeze(0).add(1).div_(2), Size(side, side)).mul_(2).sub_(1)[0]


def _seed(generator: Generator | None, seed: int | None) -> int:
    if generator is None:
        return seed or 0
    if seed is not None:
        raise SettingsError("give generator or seed, not both")
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))
