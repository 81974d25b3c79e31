"""Build a stage from its recipe: on previous stages, on a finished model, or on an open base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.utils.logging import disable_progress_bar
from safetensors.torch import load_file
from torch import nn

from patchvsr.errors import SettingsError
from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.mini import sizes as mini
from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
from patchvsr.models.mini.restorer import Restorer
from patchvsr.models.registry import resolve_model
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.models.wan_base.base import load_base, load_base_autoencoder, new_transformer
from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.models.wan_base.light_decoder import new_light_decoder
from patchvsr.models.wan_base.prompt import fixed_prompt
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.checkpoint import checkpoints, last_checkpoint, shapes, trained_parameters
from patchvsr.training.distillation import DistillStage
from patchvsr.training.light_decoder import LightDecoderStage
from patchvsr.training.recipes import Recipe
from patchvsr.training.stages import (
    AdapterStage,
    AutoencoderStage,
    BaseStage,
    RestorerStage,
    Stage,
)

# Of the discriminator, the linear prediction and the learned score, which are not part of the model.
OF_A_RUN = ("adversary.", "predict.", "score_of_student.")


def build_stage(recipe: Recipe) -> Stage:
    """Build a stage in its state before the first step.

    Raises SettingsError if a previous stage has not been trained, and ModelError if a base cannot be loaded.
    """
    torch.manual_seed(recipe.seed)
    if recipe.base != "mini":
        stage = _on_open_base(recipe)
    elif recipe.init:
        stage = _from_model(recipe)
    else:
        stage = _from_runs(recipe)
    if recipe.gradient_checkpointing:
        for module in stage.modules():
            if isinstance(module, WanTransformer3DModel):
                module.enable_gradient_checkpointing()
    if recipe.compile:
        _compile_blocks(stage)
    return stage


def _from_runs(recipe: Recipe, restorer: Restorer | None = None) -> Stage:
    """Build a stage of the bundled model on the runs of the previous stages.

    restorer: a trained one, which a run of that stage replaces.
    """
    autoencoder = mini.new_autoencoder()
    if restorer:
        autoencoder.restorer.load_state_dict(restorer.state_dict())
    restorer_stage = RestorerStage(recipe, autoencoder.restorer, autoencoder.geometry)
    if recipe.stage == "restorer":
        return restorer_stage
    load_average(recipe.run_of("restorer"), restorer_stage, optional=restorer is not None)
    autoencoder_stage = AutoencoderStage(recipe, autoencoder)
    if recipe.stage == "autoencoder":
        return autoencoder_stage
    load_average(recipe.run_of("autoencoder"), autoencoder_stage)
    base, prompt = mini.new_base(autoencoder), mini.new_prompt()
    base_stage = BaseStage(recipe, autoencoder, base, prompt)
    if recipe.stage == "base":
        return base_stage
    load_average(recipe.run_of("base"), base_stage)
    return _after_adapter(recipe, autoencoder, mini.add_adapter(base, autoencoder, prompt.detach()))


def _from_model(recipe: Recipe) -> Stage:
    """Build a stage on a finished model, replacing the parts that previous stages of this training have trained."""
    disable_progress_bar()
    pipeline = PatchVSRPipeline.from_pretrained(resolve_model(recipe.init), dtype=torch.float32)
    autoencoder, transformer = pipeline.vae, pipeline.transformer
    if not isinstance(autoencoder, ResidualAutoencoder):
        raise SettingsError(f"init={recipe.init} has no restorer to go on from: give fast, or a model trained on mini")
    if transformer is None:
        return _from_runs(recipe, autoencoder.restorer)
    restorer_stage = RestorerStage(recipe, autoencoder.restorer, autoencoder.geometry)
    if recipe.stage == "restorer":
        return restorer_stage
    load_average(recipe.run_of("restorer"), restorer_stage, optional=True)
    autoencoder_stage = AutoencoderStage(recipe, autoencoder)
    if recipe.stage == "autoencoder":
        return autoencoder_stage
    load_average(recipe.run_of("autoencoder"), autoencoder_stage, optional=True)
    base = mini.new_base(autoencoder)
    base.load_state_dict({name: transformer.state_dict()[name] for name in base.state_dict()})
    base_stage = BaseStage(recipe, autoencoder, base, nn.Parameter(transformer.prompt_embeds.detach().clone()))
    if recipe.stage == "base":
        return base_stage
    load_average(recipe.run_of("base"), base_stage, optional=True)
    transformer.load_state_dict(base.state_dict() | {"prompt_embeds": base_stage.prompt[0].detach()}, strict=False)
    if recipe.stage == "distill" and not checkpoints(recipe.run_of("adapter")):
        return DistillStage(recipe, autoencoder, unlocked(transformer))
    return _after_adapter(recipe, autoencoder, transformer, optional=True)


def _after_adapter(
    recipe: Recipe, autoencoder: Autoencoder, transformer: PatchVSRTransformer3DModel, *, optional: bool = False
) -> Stage:
    transformer.train_adapter_and_lora(rank=recipe.lora_rank)
    adapter_stage = AdapterStage(recipe, autoencoder, transformer)
    if recipe.stage == "adapter":
        return adapter_stage
    load_average(recipe.run_of("adapter"), adapter_stage, optional=optional)
    return DistillStage(recipe, autoencoder, unlocked(transformer))


def _on_open_base(recipe: Recipe) -> Stage:
    """Build a stage on a Wan base: trained parameters in float32, the rest in the recipe's precision.

    After a light decoder, `adapter` and `distill` decode with it; without one, with the base's own decoder.
    """
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    if recipe.stage == "restorer":
        raise SettingsError(f"{recipe.base} has no stage restorer: its stage autoencoder trains one in a light decoder")
    if recipe.stage == "autoencoder":
        return _light_decoder_stage(recipe, load_base_autoencoder(recipe.base, dtype=dtype))
    prompt = fixed_prompt(recipe.base, Path(recipe.output) / "prompt.safetensors")
    if recipe.stage == "base":
        base, of_base = load_base(recipe.base, dtype=dtype)
        return BaseStage(recipe, of_base, base.float(), nn.Parameter(prompt.float(), requires_grad=False))
    transformer, of_base = new_transformer(recipe.base, prompt, dtype=dtype)
    autoencoder = _with_light_decoder(recipe, of_base)
    if checkpoints(recipe.run_of("base")):
        tuned = load_file(last_checkpoint(recipe.run_of("base")) / "average.safetensors")
        transformer.load_state_dict({name.removeprefix("base."): value for name, value in tuned.items()}, strict=False)
    transformer.train_adapter_and_lora(rank=recipe.lora_rank)
    adapter_stage = trained_in_float32(AdapterStage(recipe, autoencoder, transformer))
    if recipe.stage == "adapter":
        return adapter_stage
    load_average(recipe.run_of("adapter"), adapter_stage)
    return trained_in_float32(DistillStage(recipe, autoencoder, transformer))


def _with_light_decoder(recipe: Recipe, base: WanAutoencoder) -> Autoencoder:
    """Return the autoencoder of a base with the light decoder trained in the same output, or as it is without one."""
    run = recipe.run_of("autoencoder")
    if not checkpoints(run):
        return base
    stage = _light_decoder_stage(recipe, base)
    load_average(run, stage)
    return stage.autoencoder


def _light_decoder_stage(recipe: Recipe, base: WanAutoencoder) -> LightDecoderStage:
    return LightDecoderStage(recipe, LightAutoencoder.of(base, new_light_decoder(base.geometry)))


def trained_in_float32(stage: Stage) -> Stage:
    """Cast trained parameters to float32, because bfloat16 would round small updates away."""
    for parameter in trained_parameters(stage).values():
        parameter.data = parameter.data.float()
    return stage


def unlocked(transformer: PatchVSRTransformer3DModel) -> PatchVSRTransformer3DModel:
    """Fuse LoRA into the base's weights and make everything trainable except the fixed prompt."""
    if getattr(transformer, "peft_config", None):
        transformer.fuse_lora()
        transformer.unload_lora()
    transformer.requires_grad_(True)
    transformer.prompt_embeds.requires_grad_(False)
    return transformer


def load_average(run: Path, stage: Stage, *, optional: bool = False) -> None:
    """Load the averaged weights of a run's last checkpoint into a stage with the same trained parameters.

    optional: accept a missing run, and a run that trained only part of the stage.

    Raises SettingsError if the run has no checkpoint or another architecture.
    """
    if optional and not checkpoints(run):
        return
    folder = last_checkpoint(run)
    weights, trained = (
        {name: value for name, value in tensors.items() if not name.startswith(OF_A_RUN)}
        for tensors in (load_file(folder / "average.safetensors"), trained_parameters(stage))
    )
    found, needed = shapes(weights), shapes(trained)
    if any(needed.get(name) != shape for name, shape in found.items()) or (not optional and found != needed):
        raise SettingsError(f"{folder} holds another architecture: train that stage again")
    stage.load_state_dict(weights, strict=False)


def trained_modules(recipe: Recipe) -> tuple[Autoencoder, PatchVSRTransformer3DModel | None]:
    """Return the trained modules of a stage for export; a restorer is a model without a transformer.

    For stages `autoencoder` and `base`, this is the model of `init` with the trained parts replaced. Raises
    SettingsError if they have no `init`, or if the stage has no checkpoint.
    """
    if recipe.stage == "restorer":
        stage = build_stage(recipe)
        load_average(recipe.run, stage)
        assert isinstance(stage, RestorerStage)
        return mini.feed_forward(stage.restorer), None
    if recipe.stage in ("adapter", "distill"):
        stage = build_stage(recipe)
        load_average(recipe.run, stage)
    elif recipe.init:
        last_checkpoint(recipe.run)  # raises SettingsError if there is none
        # A distill stage in the same output loads the weights of the stages before it.
        stage = build_stage(replace(recipe, stage="distill", name=recipe.run_of("distill").name, objective="pixel"))
    else:
        raise SettingsError(f"{recipe.name} makes no whole model: export a restorer, adapter or distill recipe")
    assert isinstance(stage, AdapterStage)
    return stage.autoencoder, stage.transformer


def _compile_blocks(stage: Any) -> None:
    """Compile repeated blocks individually, so that each kind is compiled once."""
    for module in stage.modules():
        if type(module).__name__ in ("PatchVSRBlock", "WanTransformerBlock", "ResidualBlock", "ConditionedBlock"):
            module.compile()
