"""Trained weights as a model folder that `PatchVSRPipeline.from_pretrained` and `--model` read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from patchvsr import __version__
from patchvsr.errors import InputError, ModelError, OutputError
from patchvsr.models.checkpoint import save_adapter
from patchvsr.models.registry import Base, BundledModel, find_base, resolve_model
from patchvsr.models.transformer import ADAPTER_KEYS, PatchVSRTransformer3DModel
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.build import trained_modules
from patchvsr.training.checkpoint import checkpoints, last_checkpoint, read_state
from patchvsr.training.logs import read_log
from patchvsr.training.model_card import base_was_trained, model_card
from patchvsr.training.recipes import STAGES, Recipe

MAX_SHARD_SIZE = "15MB"  # hosts of source code refuse large files


def export(recipe: Recipe, output: Path, *, num_inference_steps: int = 1, validation: Path | None = None) -> None:
    """Writes what the recipe's stage trained, see `write_model`; raises OutputError where `output` exists already.

    `num_inference_steps` becomes the model's default: the number that does best. `validation` is a `quality.json` of
    benchmarks/quality.py, whose mean scores go into the provenance.
    """
    _check_new(output)
    autoencoder, transformer = trained_modules(recipe)
    patch_px, patch_frames = max(recipe.size_choices), recipe.num_frames
    if recipe.stage in ("autoencoder", "base"):  # the transformer's patches, not this stage's
        before = PatchVSRPipeline.load_config(resolve_model(recipe.init))
        patch_px, patch_frames = before["patch_px"], before["patch_frames"]
    write_model(
        transformer,
        autoencoder,
        output,
        base=recipe.base,
        provenance=_provenance(recipe, validation),
        num_inference_steps=num_inference_steps,
        patch_px=patch_px,
        patch_frames=patch_frames,
        noise_timestep=recipe.min_noise_timestep,
    )


def write_model(
    transformer: PatchVSRTransformer3DModel,
    autoencoder: Any,
    folder: Path,
    *,
    base: str,
    provenance: Mapping[str, Any],
    num_inference_steps: int = 1,
    **settings: Any,
) -> None:
    """Writes a model with its card and provenance into a new folder, which appears whole or not at all.

    `autoencoder` is a `MiniAutoencoder` or `WanAutoencoder`. A mini becomes a whole pipeline, LoRA folded into its
    weights, and so does any base that has had a stage of its own. On any other base, named as users will find it,
    only what they lack is written: adapter, LoRA, and the autoencoder where its parameters are trainable. Weights are
    written in bfloat16, and
    the modules given are left so. `settings` go to
    `PatchVSRPipeline`. Raises OutputError where the folder exists, and ModelError where weights of the base were
    trained, which an adapter does not hold.
    """
    folder = Path(folder)
    _check_new(folder)
    known = find_base(base)
    whole = isinstance(known, BundledModel) or base_was_trained(provenance)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    settings = {
        "patch_px": known.patch_px,
        "patch_frames": known.patch_frames,
        "num_inference_steps": num_inference_steps,
    } | settings
    write = _write_pipeline if whole else _write_adapter
    write(transformer, autoencoder, partial, known, settings)
    (partial / "README.md").write_text(model_card(folder.name, known, provenance, settings))
    (partial / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    partial.rename(folder)


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise OutputError(f"{folder} exists: choose another folder")


def _write_pipeline(
    transformer: PatchVSRTransformer3DModel, autoencoder: Any, folder: Path, _: Base, settings: dict[str, Any]
) -> None:
    if getattr(transformer, "peft_config", None):
        transformer.fuse_lora()
        transformer.unload_lora()
    _halve(transformer, keep=transformer._keep_in_fp32_modules)
    _halve(autoencoder)
    PatchVSRPipeline(transformer, autoencoder, **settings).save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)


def _write_adapter(
    transformer: PatchVSRTransformer3DModel, autoencoder: Any, folder: Path, base: Base, settings: dict[str, Any]
) -> None:
    for name, parameter in transformer.named_parameters():
        if parameter.requires_grad and ".lora_" not in name and not ADAPTER_KEYS.fullmatch(name):
            raise ModelError(f"the base's own {name} was trained: an adapter cannot hold it, train LoRA instead")
    _halve(transformer, keep=transformer._keep_in_fp32_modules)
    save_adapter(transformer, folder, base_name=base.repository or base.name, pipeline=settings)
    if any(parameter.requires_grad for parameter in autoencoder.parameters()):
        _halve(autoencoder)
        autoencoder.save_pretrained(folder / "vae")


def _halve(module: nn.Module, keep: Sequence[str] = ()) -> None:
    """To bfloat16, except the few layers that diffusers holds in float32 (norms, time embedding)."""
    for name, parameter in module.named_parameters():
        if not any(part in keep for part in name.split(".")):
            parameter.data = parameter.data.to(torch.bfloat16)


def _provenance(last: Recipe, validation: Path | None) -> dict[str, Any]:
    """What the weights were made from: every stage's recipe, steps, time and data, and the model they went on from."""
    stages = {}
    for stage in STAGES[: STAGES.index(last.stage) + 1]:
        run = last.run_of(stage)
        if checkpoints(run):
            state = read_state(last_checkpoint(run))
            minutes = round(_seconds(read_log(run)) / 60, 1)
            stages[run.name] = {"steps": state["step"], "minutes": minutes, "recipe": state["recipe"]}
    provenance: dict[str, Any] = {
        "patchvsr": __version__,
        "data_sha256": read_state(last_checkpoint(last.run))["data"],
        "stages": stages,
        "validation": _mean_scores(validation) if validation else None,
    }
    before = Path(resolve_model(last.init)) / "provenance.json" if last.init else None
    if before and before.is_file():
        provenance["went_on_from"] = json.loads(before.read_text())
    return provenance


def _mean_scores(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())["mean"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is no quality.json of benchmarks/quality.py: {error}") from None


def _seconds(events: list[dict[str, Any]]) -> float:
    """Training time: each event covers the steps since the one before."""
    seconds, last_step = 0.0, 0
    for event in events:
        if "seconds_per_step" in event:
            seconds += event["seconds_per_step"] * (event["step"] - last_step)
            last_step = event["step"]
    return seconds
