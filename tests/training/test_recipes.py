"""Recipes by name or file, with fields replaced from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchvsr.errors import SettingsError
from patchvsr.training.recipes import RECIPES, Recipe, load_recipe, resolve, save_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_make_sense(name: str) -> None:
    recipe = resolve(name)
    assert recipe.name == name == recipe.run.name
    assert recipe.run_of("base").name == name.replace(recipe.stage, "base")
    assert recipe.stage in ("restorer", "autoencoder") or recipe.canvas_min >= max(recipe.size_choices)


def test_overrides_take_the_type_of_their_field() -> None:
    overrides = {"steps": "7", "learning_rate": "1e-3", "output": "runs/other", "still_noise": "true"}
    recipe = resolve("mini_autoencoder", overrides | {"degradation.clean_share": "0.25"})
    assert (recipe.steps, recipe.learning_rate, recipe.output, recipe.still_noise) == (7, 1e-3, "runs/other", True)
    assert recipe.degradation.clean_share == 0.25 and recipe.degradation.strength == 1.0
    assert resolve("mini_autoencoder", {}) == resolve("mini_autoencoder") == RECIPES["mini_autoencoder"]()


def test_a_saved_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = resolve("wan22_adapter", {"degradation.strength": "0.5"})
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe
    assert resolve(str(tmp_path / "recipe.json"), {"steps": "3"}).steps == 3
    (tmp_path / "none.json").write_text('{"steps": 3}')
    with pytest.raises(SettingsError, match=r"none\.json holds no recipe"):
        resolve(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("maxi", {}, r"unknown recipe 'maxi': give a recipe\.json, or one of mini_restorer"),
        ("mini_autoencoder", {"step": "7"}, "unknown recipe field 'step': choose one of stage, name"),
        ("mini_autoencoder", {"degradation": "7"}, "unknown recipe field 'degradation'"),
        ("mini_autoencoder", {"degradation.size": "7"}, "unknown recipe field 'size'"),
        ("mini_autoencoder", {"size_choices": "7"}, "unknown recipe field 'size_choices'"),
        ("mini_autoencoder", {"steps": "many"}, "steps=many: a value of type int is needed"),
        ("mini_autoencoder", {"compile": "7"}, "compile=7: a value of type bool is needed"),
        ("mini_autoencoder", {"sizes": "64;128"}, "sizes=64;128: whole numbers with commas are needed"),
        ("mini_autoencoder", {"sizes": "100"}, "must be multiples of 32 pixels"),
        ("mini_autoencoder", {"num_frames": "8"}, r"must be 4k\+1"),
        (
            "mini_autoencoder",
            {"stage": "tune"},
            "unknown stage 'tune': choose one of restorer, autoencoder, base, adapter, distill",
        ),
        ("mini_autoencoder", {"name": "mine"}, "name is 'mine': it must end with _autoencoder"),
        ("mini_adapter", {"canvas_min": "128"}, "canvas_min is 128: it must hold every patch size"),
        ("mini_adapter", {"canvas_max": "128"}, "canvas_max is smaller than canvas_min"),
        ("mini_adapter", {"precision": "fp16"}, "precision is 'fp16': choose bf16 or fp32"),
        ("mini_distill", {"objective": "magic"}, "objective is 'magic': choose one of pixel"),
        ("mini_distill", {"steps": "0"}, "steps must be at least 1"),
        ("mini_autoencoder", {"validation_every": "0"}, "validation_every must be at least 1"),
        ("mini_autoencoder", {"workers": "-1"}, "workers must be at least 0"),
        ("mini_autoencoder", {"num_frames": "-3"}, r"must be 4k\+1"),
        ("mini_adapter", {"validation_steps": "one"}, "validation_steps=one: whole numbers"),
        ("mini_adapter", {"validation_steps": "-1"}, "validation_steps=-1: give 0 or more"),
        ("wan21_adapter", {"max_noise_timestep": "100"}, "min_noise_timestep <= max_noise_timestep"),
        ("wan21_adapter", {"init": "mini"}, "init only works with base mini"),
        ("mini_distill", {"objective": "adversarial"}, "needs an adversarial_weight above 0"),
        ("mini_distill", {"adversary": "eyes"}, "adversary is 'eyes': choose runs or features"),
    ],
)
def test_refusals(name: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve(name, overrides)


def test_recipes_are_plain_values() -> None:
    assert isinstance(hash(RECIPES["mini_autoencoder"]()), int) and isinstance(RECIPES["mini_autoencoder"](), Recipe)
