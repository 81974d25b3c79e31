"""Recipes by name, with fields replaced from the command line."""

from __future__ import annotations

import pytest

from patchvsr.errors import SettingsError
from patchvsr.training.recipes import RECIPES, Recipe, resolve


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_fit_the_models_they_train(name: str) -> None:
    recipe = resolve(name)
    assert recipe.name == name == f"mini_{recipe.stage}"
    assert recipe.num_frames % 4 == 1
    assert recipe.size % 32 == recipe.canvas_size % 32 == 0  # a token is two latent cells of 16 pixels
    assert recipe.stage not in ("adapter", "distill") or recipe.canvas_size >= recipe.size


def test_overrides_take_the_type_of_their_field() -> None:
    recipe = resolve("mini_codec", {"steps": "7", "learning_rate": "1e-3", "output": "runs/other"})
    assert (recipe.steps, recipe.learning_rate, recipe.output) == (7, 1e-3, "runs/other")
    assert resolve("mini_codec", {}) == resolve("mini_codec") == RECIPES["mini_codec"]()
    assert isinstance(recipe, Recipe)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("maxi", {}, "unknown recipe 'maxi': choose one of mini_codec"),
        ("mini_codec", {"step": "7"}, "unknown recipe field 'step': choose one of stage, name"),
        ("mini_codec", {"degradation": "7"}, "unknown recipe field 'degradation'"),
        ("mini_codec", {"steps": "many"}, "steps=many: a int is needed"),
    ],
)
def test_refusals(name: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve(name, overrides)
