"""Settings of an upscale: how to read, how to restore, how to encode.

Each group is a frozen dataclass that is checked when built and passed as a whole. `ReadSettings` and `EncodeSettings`
are defined in `media`, `RestoreSettings` here. Command-line options, presets and job records are generated from their
fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from typing import Any

from patchvsr.errors import SettingsError
from patchvsr.media.settings import EncodeSettings, ReadSettings
from patchvsr.models.geometry import is_clip_length
from patchvsr.patches.windows import MODES
from patchvsr.pixels.size import Size, check_scale_or_size, target_size
from patchvsr.setting import setting

DTYPES = ("float32", "bfloat16", "float16")
STORAGE_DTYPES = ("float8_e4m3fn", "float8_e5m2")
SCHEDULERS = ("euler", "unipc")
CHUNK_FRAMES = 17
# About two seconds of film. Each unit begins with a key frame, and a killed job loses at most one unit.
UNIT_FRAMES = 48


@dataclass(frozen=True)
class RestoreSettings:
    """How frames are restored. `None` means the model's own default.

    scale, size: size of the output, as a factor, as "WIDTHxHEIGHT" or by name ("4k" fits into 3840x2160 and keeps the
        aspect ratio); x4 if neither is given.
    num_inference_steps: denoising steps; 0 decodes without latents.
    scheduler: euler, or unipc (Zhao et al. 2023), which follows curved paths from noise to video in fewer steps.
    restoration: how degraded the input is, from 0 (only downscaled) to 1; None estimates it for each shot.
    noise_timestep: noise augmentation of the patch's input, 0 to 1000 (paper: 200 to 300); higher values invent more
        detail.
    branch_scale: strength of the patch branch.
    detail: share of the generated detail that is added to the restored frames, 0 to 2; 0 takes no steps.
    base: base of the adapter that `model` names, if not the one that it names itself; with the default `model`, a base
        without an adapter.
    strength: noise level to start from, above 0 to 1, with the input's own latents below it; 1 starts from noise alone,
        as models with an adapter do. A base without one knows the input by its start only.
    check: whether every frame is compared with its input, at a small size, and the work stops at a wrong one.
    chunk_frames: frames restored together, 4k+1. overlap_frames: frames shared with the previous chunk, 4k+1.
    unit_frames: a unit of a job ends with the chunk that makes it at least this long.
    storage_dtype: weights of the transformer's layers are rounded to it and cast to `dtype` when a layer computes;
        embeddings, norms and the fixed prompt are not.
    attention_backend, compile: other kernels round otherwise, so they shape the output.
    independent_units: with more than one step, or `strength`, begin every unit inside a shot by restoring the chunk
        before it once more, instead of going on from the latents of the unit before. Otherwise it changes nothing, see
        `jobs.plan`.
    batch_size: patches per call of the transformer. tile_px: largest side of an autoencoder tile without its halo,
        None for the autoencoder's own.
        Neither changes the result on a CPU; on other devices only by rounding.
    """

    scale: float | None = setting(
        None, "Upscaling factor; 4 if no size is given.", "-s", "--scale", shapes_output=False
    )
    size: str | None = setting(None, "Output size: WIDTHxHEIGHT, 720p, 1080p, 2k, 4k or 8k.", shapes_output=False)
    allow_smaller: bool = setting(
        False, "Allow an output smaller than the input.", "--allow-smaller", shapes_output=False
    )
    num_inference_steps: int | None = setting(
        None, "Number of denoising steps; 0 is feed-forward and fastest.", "--steps", default_text="the model's"
    )
    joint_mode: str | None = setting(
        None, "Joint denoising: auxiliary, overlap, shifted or independent.", "--joint", default_text="the model's"
    )
    scheduler: str | None = setting(
        None,
        "Solver of the denoising steps: euler, or unipc for 3 steps or more.",
        "--scheduler",
        default_text="the model's",
    )
    seed: int = setting(0, "Random seed; the same input, settings and seed give the same bytes.")
    model: str = setting("mini", "Model: bundled name, model folder, or Hub name.", shapes_output=False)
    base: str | None = setting(
        None,
        "Base for the adapter that --model names; without --model, a base to refine with, see --strength.",
        default_text="the adapter's",
        shapes_output=False,
    )
    restoration: float | None = setting(
        None,
        "How degraded the input is, 0 to 1: 0 only sharpens; 1 also removes noise, blur and compression.",
        default_text="estimated for each shot",
    )
    noise_timestep: float | None = setting(
        None, "Noise augmentation, 0 to 1000; higher values invent more detail.", "--noise", default_text="the model's"
    )
    branch_scale: float = setting(1.0, "Strength of the patch branch.")
    detail: float | None = setting(
        None,
        "Share of the generated detail that is added, 0 (faithful) to 1 (rich, as trained); up to 2 exaggerates it.",
        default_text="the model's",
    )
    strength: float | None = setting(
        None,
        "Start from the input's latents with noise of this level, above 0 to 1; 0.15 to 0.5 refines.",
        default_text="the model's",
    )
    color_match: bool = setting(True, "Keep the input's colours.", "--color-match/--no-color-match")
    check: bool = setting(
        True, "Stop if a frame does not show what its input shows.", "--check/--no-check", shapes_output=False
    )
    chunk_frames: int | None = setting(
        None, "Number of frames restored together, 4k+1.", default_text="17, or what memory allows"
    )
    independent_units: bool = setting(
        False,
        "With 2 steps or more, or --strength: units of a shot do not wait for each other on a cluster.",
        "--independent-units/--no-independent-units",
    )
    device: str | None = setting(
        None, "Device: cpu, cuda, cuda:1 or mps.", default_text="the best one", shapes_output=False, in_presets=False
    )
    dtype: str | None = setting(
        None,
        "Floating-point type: float32, bfloat16 or float16.",
        default_text="bfloat16 where the processor is fast with it, else float32",
    )
    storage_dtype: str | None = setting(
        None,
        "Keep the transformer's weights in float8_e4m3fn or float8_e5m2: half the memory of bfloat16, another result.",
        "--storage-dtype",
        default_text="as --dtype",
    )
    cpu_offload: bool = setting(
        False,
        "Keep the transformer's weights on the host; each layer goes to the device when it is used.",
        "--cpu-offload",
        shapes_output=False,
    )
    attention_backend: str | None = setting(
        None, "Attention kernel of diffusers: flash, sage, xformers and others.", default_text="PyTorch's own"
    )
    compile: bool = setting(False, "Compile the transformer's blocks before use.", "--compile")
    batch_size: int = setting(1, "Patches per model call; does not change the result.", shapes_output=False)
    tile_px: int | None = field(default=None, metadata={"shapes_output": False})
    overlap_frames: int = 1
    unit_frames: int = UNIT_FRAMES

    def __post_init__(self) -> None:
        check_scale_or_size(self.scale, self.size)
        if self.size is not None:
            Size.parse(self.size)
        if self.num_inference_steps is not None and self.num_inference_steps < 0:
            raise SettingsError(f"num_inference_steps is {self.num_inference_steps}: give 0 or more")
        if self.joint_mode is not None and self.joint_mode not in MODES:
            raise SettingsError(f"unknown joint mode {self.joint_mode!r}: choose one of {', '.join(MODES)}")
        if self.scheduler not in (None, *SCHEDULERS):
            raise SettingsError(f"unknown scheduler {self.scheduler!r}: choose one of {', '.join(SCHEDULERS)}")
        if self.dtype not in (None, *DTYPES):
            raise SettingsError(f"unknown dtype {self.dtype!r}: choose one of {', '.join(DTYPES)}")
        if self.storage_dtype not in (None, *STORAGE_DTYPES):
            raise SettingsError(
                f"unknown storage_dtype {self.storage_dtype!r}: choose one of {', '.join(STORAGE_DTYPES)}"
            )
        if self.noise_timestep is not None and not 0 <= self.noise_timestep <= 1000:
            raise SettingsError(f"noise_timestep is {self.noise_timestep:g}: it must lie between 0 and 1000")
        if self.restoration is not None and not 0 <= self.restoration <= 1:
            raise SettingsError(f"restoration is {self.restoration:g}: it must lie between 0 and 1")
        if not isfinite(self.branch_scale):
            raise SettingsError(f"branch_scale is {self.branch_scale:g}: give a number, 1 is as trained")
        if self.detail is not None and not 0 <= self.detail <= 2:
            raise SettingsError(f"detail is {self.detail:g}: it must lie between 0 and 2, 1 is as trained")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise SettingsError(f"strength is {self.strength:g}: it must lie above 0 and not above 1")
        for name in ("chunk_frames", "overlap_frames"):
            value = getattr(self, name)
            if value is not None and not is_clip_length(value):
                raise SettingsError(f"{name} is {value}: it must be 4k+1, for example 5 or 17")
        if self.overlap_frames >= (self.chunk_frames or CHUNK_FRAMES):
            raise SettingsError(f"overlap_frames is {self.overlap_frames}: it must be less than chunk_frames")
        for name, least in (("batch_size", 1), ("tile_px", 16), ("unit_frames", 1)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)}: it must be at least {least}")

    def output_size(self, source: Size) -> Size:
        """Return the output size for an input of size `source`. Raises SettingsError, see `target_size`."""
        return target_size(source, self.scale, self.size, allow_smaller=self.allow_smaller)

    def resolved(self, defaults: Mapping[str, Any]) -> ResolvedSettings:
        """Return these settings with model defaults taken from `defaults`, a pipeline's config."""
        mine = {f.name: getattr(self, f.name) for f in fields(RestoreSettings)}
        chosen = {name: defaults[name] for name in MODEL_DEFAULTS if mine[name] is None}
        return ResolvedSettings(**(mine | chosen))


# Settings whose default is the model's, from the config of its pipeline.
MODEL_DEFAULTS = ("num_inference_steps", "joint_mode", "noise_timestep", "detail", "strength")


@dataclass(frozen=True)
class ResolvedSettings(RestoreSettings):
    """How frames are restored, with the model's defaults filled in; see `PatchVSRPipeline.resolve`."""

    num_inference_steps: int = 0
    joint_mode: str = MODES[0]
    noise_timestep: float = 0.0
    detail: float = 1.0
    tile_px: int = field(default=1280, metadata={"shapes_output": False})


@dataclass(frozen=True)
class UpscaleSettings:
    """All settings of one upscale."""

    read: ReadSettings = field(default_factory=ReadSettings)
    restore: RestoreSettings = field(default_factory=RestoreSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)

    @classmethod
    def of(cls, **settings: Any) -> UpscaleSettings:
        """Build the groups from settings by name: `UpscaleSettings.of(scale=2, codec="hevc")`."""
        return cls().replaced(**settings)

    def overridden(self, **given: Any) -> UpscaleSettings:
        """Return a copy with what a user gave. `scale` and `size` are two names of one choice: either replaces both."""
        if "scale" in given or "size" in given:
            given = {"scale": None, "size": None} | given
        return self.replaced(**given)

    def replaced(self, **settings: Any) -> UpscaleSettings:
        """Return a copy with these settings replaced, each in its group. Raises SettingsError for an unknown name."""
        groups = {}
        for name, group in setting_groups().items():
            own = {f.name: settings.pop(f.name) for f in fields(group) if f.name in settings}
            groups[name] = replace(getattr(self, name), **own)
        if settings:
            raise SettingsError(f"unknown setting {next(iter(settings))!r}: see `patchvsr upscale --help`")
        return UpscaleSettings(**groups)


def setting_groups() -> dict[str, type]:
    """Return the class of each group by name: read, restore, encode."""
    return {"read": ReadSettings, "restore": RestoreSettings, "encode": EncodeSettings}


def shaping(group: Any) -> dict[str, Any]:
    """Return the settings of a group that can change a byte of the output, by name."""
    shapes = {f.name for f in fields(group) if f.metadata.get("shapes_output", True)}
    return {name: value for name, value in asdict(group).items() if name in shapes}
