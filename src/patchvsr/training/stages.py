"""Builds a stage of the bundled model from its recipe, on the weights of the stages before it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from patchvsr.errors import SettingsError
from patchvsr.models import mini
from patchvsr.models.mini_autoencoder import MiniAutoencoder
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.training.objectives import AdapterStage, BaseStage, CodecStage, DistillStage, Stage
from patchvsr.training.recipes import Recipe
from patchvsr.training.trainer import shapes


def build_stage(recipe: Recipe) -> Stage:
    """Raises SettingsError for an unknown stage, or one whose predecessor has not been trained yet."""
    torch.manual_seed(recipe.seed)
    runs = Path(recipe.output)
    codec = mini.new_codec()
    if recipe.stage == "codec":
        return CodecStage(recipe, codec)
    load_average(runs / "mini_codec", {"codec": codec})
    base, prompt = mini.new_base(codec), mini.new_prompt()
    if recipe.stage == "base":
        return BaseStage(recipe, codec, base, prompt)
    load_average(runs / "mini_base", {"base": base, "prompt": nn.ParameterList([prompt])})
    transformer = mini.add_adapter(base, codec, prompt.detach())
    if recipe.stage == "adapter":
        transformer.train_adapter_and_lora(rank=recipe.lora_rank)
        return AdapterStage(recipe, codec, transformer)
    if recipe.stage == "distill":
        load_adapted(runs / "mini_adapter", transformer, recipe)
        return DistillStage(recipe, codec, transformer)
    raise SettingsError(f"unknown stage {recipe.stage!r}: choose codec, base, adapter or distill")


def load_adapted(run: Path, transformer: PatchVSRTransformer3DModel, recipe: Recipe) -> None:
    """Loads adapter and LoRA, folds LoRA into the base's weights and leaves everything trainable."""
    transformer.train_adapter_and_lora(rank=recipe.lora_rank)
    load_average(run, {"transformer": transformer})
    if recipe.lora_rank:
        transformer.fuse_lora()
        transformer.unload_lora()
    transformer.requires_grad_(True)
    transformer.prompt_embeds.requires_grad_(False)


def load_average(run: Path, modules: dict[str, nn.Module]) -> None:
    """Loads the averaged weights of a run's last checkpoint into modules named and frozen as they were in training."""
    file = run / "checkpoint" / "average.safetensors"
    if not file.exists():
        raise SettingsError(f"{file} is missing: train that stage first (patchvsr train {run.name})")
    weights = load_file(file)
    for module_name, module in modules.items():
        prefix = f"{module_name}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        if shapes(own) != shapes(trained):
            raise SettingsError(f"{file} holds another architecture: train that stage again")
        module.load_state_dict(own, strict=False)


def trained_modules(recipe: Recipe) -> tuple[MiniAutoencoder, PatchVSRTransformer3DModel]:
    """Codec and transformer after the last stage (`distill`), for export."""
    stage = build_stage(recipe)
    if not isinstance(stage, DistillStage):
        raise SettingsError(f"{recipe.name} is not a distill recipe: only the last stage can be exported")
    load_average(Path(recipe.output) / recipe.name, stage.modules)
    return stage.codec, stage.transformer
