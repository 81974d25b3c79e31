"""Recipes: typed training configurations, one function each; every field can be overridden."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from patchvsr.errors import SettingsError
from patchvsr.training.degradation import Degradation


@dataclass(frozen=True)
class Recipe:
    """One training stage. Sizes in pixels and frames; `num_frames` is 4k+1."""

    stage: str
    name: str
    data: str = "../shared/data/train"
    packed: str = "runs/packed"
    output: str = "runs/mini"
    steps: int = 1000
    batch_size: int = 4
    num_frames: int = 5
    size: int = 192
    learning_rate: float = 4e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    spectral_weight: float = 0.1
    canvas_size: int = 384  # adapter, distill: side of the canvas that patches of `size` are cut from
    max_noise_timestep: float = 300.0  # adapter, distill: noise augmentation is drawn from 0 to this
    lora_rank: int = 16
    decode_size: int = 192  # distill: pixels and frames of the crops that are decoded
    decode_frames: int = 9
    checkpoint_every: int = 250
    log_every: int = 20
    seed: int = 0
    degradation: Degradation = field(default_factory=Degradation)


def mini_codec() -> Recipe:
    return Recipe(stage="codec", name="mini_codec", steps=1500, batch_size=4, num_frames=5, size=192)


def mini_base() -> Recipe:
    return Recipe(stage="base", name="mini_base", steps=260, batch_size=8, num_frames=9, size=256, learning_rate=6e-4)


def mini_adapter() -> Recipe:
    return Recipe(stage="adapter", name="mini_adapter", steps=600, batch_size=6, num_frames=9, size=256)


def mini_distill() -> Recipe:
    """At the size and length of patches when upscaling, after shorter stages on smaller ones."""
    return Recipe(
        stage="distill",
        name="mini_distill",
        steps=400,
        batch_size=1,
        num_frames=17,
        size=512,
        canvas_size=576,
        learning_rate=2e-4,
    )


RECIPES = {recipe.__name__: recipe for recipe in (mini_codec, mini_base, mini_adapter, mini_distill)}


def resolve(name: str, overrides: dict[str, str] | None = None) -> Recipe:
    """A recipe by name with fields replaced from text. Raises SettingsError for an unknown name, field or value."""
    if name not in RECIPES:
        raise SettingsError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    for field_name, text in (overrides or {}).items():
        current = getattr(recipe, field_name, None)
        if not isinstance(current, (int, float, str)):
            known = ", ".join(f.name for f in fields(recipe) if f.name != "degradation")
            raise SettingsError(f"unknown recipe field {field_name!r}: choose one of {known}")
        try:
            values: dict[str, Any] = {field_name: type(current)(text)}
        except ValueError:
            raise SettingsError(f"{field_name}={text}: a {type(current).__name__} is needed") from None
        recipe = replace(recipe, **values)
    return recipe
