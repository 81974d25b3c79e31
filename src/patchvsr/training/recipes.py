"""Recipes: typed training configurations, one function each. Every field can be overridden."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from patchvsr.degradation.degrade import Degradation
from patchvsr.errors import SettingsError
from patchvsr.models.geometry import is_clip_length

STAGES = ("restorer", "autoencoder", "base", "adapter", "distill")
PLACES = ("data", "packed", "output", "cache", "validation", "validation_packed")  # fields that hold folders
ADVERSARIES = ("runs", "features")  # what a discriminator sees
OBJECTIVES = ("pixel", "consistency", "distribution", "adversarial")


@dataclass(frozen=True)
class Recipe:
    """Configuration of one stage. Sides are in pixels, lengths in frames (4k+1); lists are comma-separated strings."""

    # stage, base and data
    stage: str  # restorer, autoencoder, base, adapter, distill
    name: str
    base: str = "mini"  # a name in models/registry.py, a Hub name, or a folder of a Wan model in diffusers' format
    init: str = ""  # start from this model (bundled name, folder or Hub name) instead of the previous stages
    data: str = "data/train"  # folder, or .jsonl list, of videos and photos
    packed: str = "runs/packed"
    output: str = "runs/mini"
    cache: str = ""  # adapter, base: folder of latents written by `patchvsr cache`; "" encodes on the fly
    seed: int = 0
    # samples
    num_frames: int = 5
    sizes: str = "192"  # sides of square patches; one is drawn per step
    canvas_min: int = 256  # range of canvas sides; height and width are drawn independently
    canvas_max: int = 384
    patches_per_canvas: int = 1  # of consecutive samples cut from the same canvas, as large canvases are slow to make
    photo_share: float = 0.6
    workers: int = 2
    degradation: Degradation = field(default_factory=Degradation)
    single_pass_share: float = 0.0  # share of the degraded clips with one light pass, as of a phone or a stream
    # optimisation
    steps: int = 1000
    batch_size: int = 4  # per device
    accumulate: int = 1
    learning_rate: float = 4e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "bf16"  # bf16 or fp32
    gradient_checkpointing: bool = False
    compile: bool = False
    # objectives
    spectral_weight: float = 0.1
    energy_weight: float = 0.0  # of the distance in strength of detail; autoencoder, distill
    feature_weight: float = 0.0  # of the distance in features of a classifier; autoencoder, distill
    adversary: str = "runs"  # runs of frames; or features, of single frames by a classifier
    adversarial_weight: float = 0.0  # for autoencoder, and distill with objective "adversarial"
    told_share: float = 0.5  # restorer, of a light decoder too: share of clips for which it is told the truth
    min_noise_timestep: float = 0.0  # noise augmentation; paper: 200 to 300
    max_noise_timestep: float = 300.0
    still_noise: bool = False  # all frames of a clip start from the same noise, so that detail does not flicker
    clean_condition_share: float = 0.5  # share of patches without noise augmentation
    lora_rank: int = 16
    objective: str = "pixel"  # distill: pixel; the others add a term to the pixel losses
    decode_size: int = 192  # distill: side and length of the decoded crops
    decode_frames: int = 9
    # logging, checkpoints, validation
    log_every: int = 20
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    validation: str = ""  # folder of clips; "" for none
    validation_packed: str = "runs/packed_validation"
    validation_every: int = 500
    validation_frames: int = 5
    validation_side: int = 512  # centre crop; 0 for whole frames, needed to measure seams between patches of 512
    validation_steps: str = "1,4"
    validation_vmaf: bool = False

    def run_of(self, stage: str) -> Path:
        """Return the run folder of another stage in the same output, such as runs/mini/mini_base."""
        return Path(self.output) / f"{self.name.removesuffix(self.stage)}{stage}"

    @property
    def run(self) -> Path:
        return Path(self.output) / self.name

    @property
    def size_choices(self) -> tuple[int, ...]:
        return _whole_numbers("sizes", self.sizes)

    @property
    def validation_step_choices(self) -> tuple[int, ...]:
        return _whole_numbers("validation_steps", self.validation_steps)

    def check(self) -> Recipe:
        """Return the recipe itself. Raises SettingsError if its values are inconsistent."""
        if self.stage not in STAGES:
            raise SettingsError(f"unknown stage {self.stage!r}: choose one of {', '.join(STAGES)}")
        if not self.name.endswith(f"_{self.stage}"):
            raise SettingsError(f"name is {self.name!r}: it must end with _{self.stage}, for stages to find each other")
        if not (is_clip_length(self.num_frames) and is_clip_length(self.decode_frames)):
            raise SettingsError(f"{self.name}: num_frames and decode_frames must be 4k+1, such as 5, 9 or 17")
        sides = {*self.size_choices, self.canvas_min, self.canvas_max, self.decode_size}
        if any(side % 32 or side <= 0 for side in sides):
            raise SettingsError(f"{self.name}: sizes, canvas and decode_size must be multiples of 32 pixels")
        if self.stage not in ("restorer", "autoencoder") and max(self.size_choices) > self.canvas_min:
            raise SettingsError(f"{self.name}: canvas_min is {self.canvas_min}: it must hold every patch size")
        if self.canvas_max < self.canvas_min:
            raise SettingsError(f"{self.name}: canvas_max is smaller than canvas_min")
        if self.precision not in ("bf16", "fp32"):
            raise SettingsError(f"{self.name}: precision is {self.precision!r}: choose bf16 or fp32")
        if self.objective not in OBJECTIVES:
            raise SettingsError(f"{self.name}: objective is {self.objective!r}: choose one of {', '.join(OBJECTIVES)}")
        if self.adversary not in ADVERSARIES:
            raise SettingsError(f"{self.name}: adversary is {self.adversary!r}: choose {' or '.join(ADVERSARIES)}")
        if self.objective == "adversarial" and self.adversarial_weight <= 0:
            raise SettingsError(f"{self.name}: objective adversarial needs an adversarial_weight above 0")
        if self.init and self.base != "mini":
            raise SettingsError(f"{self.name}: init only works with base mini; on {self.base}, start from the base")
        if any(steps < 0 for steps in self.validation_step_choices):
            raise SettingsError(f"{self.name}: validation_steps={self.validation_steps}: give 0 or more")
        if not 0 <= self.min_noise_timestep <= self.max_noise_timestep <= 1000:
            raise SettingsError(f"{self.name}: 0 <= min_noise_timestep <= max_noise_timestep <= 1000 is needed")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise SettingsError(f"{self.name}: {name} must be at least {least}")
        return self


_LEAST = {
    "steps": 1, "batch_size": 1, "accumulate": 1, "log_every": 1, "checkpoint_every": 1, "keep_checkpoints": 1,
    "validation_every": 1, "workers": 0, "patches_per_canvas": 1, "lora_rank": 0,
}  # fmt: skip


# --- the bundled model on two CPU cores ---------------------------------------------------------------------


def mini_restorer() -> Recipe:
    """Train on single frames, which show it many more pictures in the same time than clips do."""
    return Recipe(
        stage="restorer", name="mini_restorer", steps=4_400, batch_size=16, num_frames=1, sizes="128",
        single_pass_share=0.4, spectral_weight=0.0, learning_rate=1e-3, weight_decay=1e-4, workers=0,
        ema_decay=0.999,
    )  # fmt: skip


def fast_restorer() -> Recipe:
    """Train the feed-forward model in the package: go on (`init`) from a restorer of single frames, on short clips."""
    return replace(
        mini_restorer(), name="fast_restorer", output="runs/fast", steps=1_500, batch_size=6, num_frames=5,
        learning_rate=5e-4,
    )  # fmt: skip


def mini_autoencoder() -> Recipe:
    """Train the decoder of detail and the conditions, on the restorer of the feed-forward model in the package."""
    return Recipe(
        stage="autoencoder", name="mini_autoencoder", init="fast", steps=1_500, batch_size=6, num_frames=5, sizes="128",
        single_pass_share=0.4, spectral_weight=0.0, energy_weight=0.007, feature_weight=0.2, learning_rate=1e-3,
        weight_decay=1e-4, workers=0,
    )  # fmt: skip


def mini_base() -> Recipe:
    return replace(
        mini_autoencoder(), stage="base", name="mini_base", steps=500, batch_size=8, num_frames=9, sizes="256",
        weight_decay=0.01, still_noise=True,
    )  # fmt: skip


def mini_adapter() -> Recipe:
    return replace(
        mini_base(), stage="adapter", name="mini_adapter", steps=600, batch_size=6, learning_rate=6e-4,
        canvas_max=1056, patches_per_canvas=3,
    )  # fmt: skip


def mini_distill() -> Recipe:
    """Train the transformer and the decoder of detail together, for one to four steps."""
    return replace(
        mini_adapter(), stage="distill", name="mini_distill", steps=600, batch_size=2, patches_per_canvas=2,
        learning_rate=2e-4, decode_size=128, decode_frames=9, validation_steps="0,1,4", validation_side=0,
    )  # fmt: skip


# --- the bundled model on one GPU ---------------------------------------------------------------------------


def _on_gpu(recipe: Recipe, **settings: Any) -> Recipe:
    return replace(
        recipe, name=recipe.name.replace("mini_", "mini_gpu_"), init="", output="runs/mini_gpu", workers=14,
        compile=True, ema_decay=0.9995, warmup_steps=200, **settings,
    )  # fmt: skip


def mini_gpu_restorer() -> Recipe:
    return _on_gpu(mini_restorer(), steps=40_000, batch_size=64, num_frames=5)


def mini_gpu_autoencoder() -> Recipe:
    return _on_gpu(mini_autoencoder(), steps=10_000, batch_size=64)


def mini_gpu_base() -> Recipe:
    return _on_gpu(mini_base(), steps=4_000, batch_size=64, num_frames=17, canvas_min=512, canvas_max=704)


def mini_gpu_adapter() -> Recipe:
    return _on_gpu(mini_adapter(), steps=6_000, batch_size=32, num_frames=17, sizes="256,512", canvas_min=512)


def mini_gpu_distill() -> Recipe:
    return _on_gpu(
        mini_distill(), steps=3_000, batch_size=16, num_frames=17, sizes="512", canvas_min=512, patches_per_canvas=1
    )


# --- light decoders and adapters for open bases -------------------------------------------------------------


def wan21_autoencoder() -> Recipe:
    """Train a light decoder for Wan2.1-T2V-1.3B, before its adapter and in the same output (docs/bases.md)."""
    return _light_decoder_of(wan21_adapter())


def wan21_adapter() -> Recipe:
    """Train an adapter for Wan2.1-T2V-1.3B on one GPU; docs/bases.md computes memory and time."""
    return _for_wan("wan2.1-1.3b", name="wan21_adapter", batch_size=2, accumulate=8)


def wan22_autoencoder() -> Recipe:
    """Train a light decoder for Wan2.2-TI2V-5B, before its adapter and in the same output (docs/bases.md)."""
    return _light_decoder_of(wan22_adapter())


def wan22_adapter() -> Recipe:
    """Train an adapter for Wan2.2-TI2V-5B on one GPU of 80 GB, or on several with FSDP2 (`accelerate launch`)."""
    return _for_wan("wan2.2-5b", name="wan22_adapter", batch_size=1, accumulate=16)


def _for_wan(base: str, **settings: Any) -> Recipe:
    return Recipe(
        stage="adapter", base=base, output=f"runs/{base}", steps=10_000, num_frames=17, sizes="512",
        canvas_min=512, canvas_max=1024, learning_rate=1e-4, warmup_steps=500, ema_decay=0.9995,
        gradient_checkpointing=True, lora_rank=32, min_noise_timestep=200.0, clean_condition_share=0.0,
        workers=8, validation_every=1000, validation_steps="20", **settings,
    )  # fmt: skip


def _light_decoder_of(adapter: Recipe) -> Recipe:
    return replace(
        adapter, stage="autoencoder", name=adapter.name.replace("adapter", "autoencoder"), steps=20_000, batch_size=16,
        accumulate=1, num_frames=9, sizes="256", learning_rate=4e-4,
    )  # fmt: skip


# --- every stage in seconds, as a smoke test ----------------------------------------------------------------


def _smoke(recipe: Recipe, **settings: Any) -> Recipe:
    common: dict[str, Any] = dict(
        init="", output="runs/smoke", packed="runs/smoke/packed", data="runs/smoke/data", num_frames=5, sizes="64",
        canvas_min=64, canvas_max=128, warmup_steps=5, ema_decay=0.95, log_every=1, checkpoint_every=20,
        decode_size=64, decode_frames=5,
        degradation=Degradation(clean_share=1.0, bilinear_share=0.0, four_share=1.0),
    )  # fmt: skip
    return replace(recipe, name=recipe.name.replace("mini_", "smoke_"), **(common | settings))


def smoke_restorer() -> Recipe:
    return _smoke(mini_restorer(), steps=120, batch_size=8)


def smoke_autoencoder() -> Recipe:
    return _smoke(mini_autoencoder(), steps=80, batch_size=8, feature_weight=0.0)


def smoke_base() -> Recipe:
    return _smoke(mini_base(), steps=60, batch_size=8)


def smoke_adapter() -> Recipe:
    return _smoke(mini_adapter(), steps=80, batch_size=8, learning_rate=3e-4, patches_per_canvas=1)


def smoke_distill() -> Recipe:
    return _smoke(mini_distill(), steps=60, batch_size=4, feature_weight=0.0, patches_per_canvas=1)


RECIPES = {
    recipe.__name__: recipe
    for recipe in (
        mini_restorer, fast_restorer, mini_autoencoder, mini_base, mini_adapter, mini_distill,
        mini_gpu_restorer, mini_gpu_autoencoder, mini_gpu_base, mini_gpu_adapter, mini_gpu_distill,
        wan21_autoencoder, wan21_adapter, wan22_autoencoder, wan22_adapter,
        smoke_restorer, smoke_autoencoder, smoke_base, smoke_adapter, smoke_distill,
    )
}  # fmt: skip


# --- by name or file, with overrides ------------------------------------------------------------------------


def resolve(name: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Return a recipe by name, or from a `recipe.json` saved by a run, with overrides parsed from strings.

    Nested fields use a dot: `degradation.clean_share=0.2`. Raises SettingsError for an unknown name, field or value.
    """
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif name.endswith(".json"):
        recipe = load_recipe(Path(name))
    else:
        raise SettingsError(f"unknown recipe {name!r}: give a recipe.json, or one of {', '.join(RECIPES)}")
    for path, text in (overrides or {}).items():
        recipe = _replaced(recipe, path, text)
    return recipe.check()


def load_recipe(file: Path) -> Recipe:
    """Load a recipe written by `save_recipe`. Raises SettingsError if the file is not a recipe."""
    try:
        values = json.loads(file.read_text())
        return Recipe(**(values | {"degradation": Degradation(**values["degradation"])}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{file} holds no recipe: {error}") from None


def save_recipe(recipe: Recipe, file: Path) -> None:
    """Write the resolved recipe as JSON."""
    file.write_text(json.dumps(asdict(recipe), indent=1) + "\n")


def _replaced(owner: Any, path: str, text: str) -> Any:
    name, _, rest = path.partition(".")
    known = {f.name for f in fields(owner)}
    current = getattr(owner, name, None)
    if name not in known or is_dataclass(current) != bool(rest):
        raise SettingsError(f"unknown recipe field {path!r}: choose one of {', '.join(_paths(owner))}")
    if rest:
        return replace(owner, **{name: _replaced(current, rest, text)})
    return replace(owner, **{name: _parsed(path, type(current), text)})


def _parsed(path: str, kind: type, text: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        raise SettingsError(f"{path}={text}: a value of type {kind.__name__} is needed") from None


def _paths(owner: Any) -> list[str]:
    paths = []
    for f in fields(owner):
        value = getattr(owner, f.name)
        paths += [f"{f.name}.{inner}" for inner in _paths(value)] if is_dataclass(value) else [f.name]
    return paths


def _whole_numbers(field_name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"{field_name}={text}: whole numbers with commas are needed") from None
