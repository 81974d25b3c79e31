"""Export trained weights to a model folder for `PatchVSRPipeline.from_pretrained` and `--model`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from patchvsr import __version__, files
from patchvsr.errors import InputError, ModelError, OutputError, SettingsError
from patchvsr.models.checkpoint import save_adapter
from patchvsr.models.folder import weight_digests
from patchvsr.models.registry import LIGHT_DECODER, OWN_AUTOENCODER, Base, BundledModel, find_base, resolve_model
from patchvsr.models.transformer import ADAPTER_KEYS, PatchVSRTransformer3DModel, cast_as_loaded
from patchvsr.models.wan_base.base import new_scheduler
from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.training.build import trained_modules
from patchvsr.training.checkpoint import checkpoints, last_checkpoint, read_state
from patchvsr.training.logs import read_log
from patchvsr.training.model_card import base_was_trained, model_card
from patchvsr.training.recipes import PLACES, STAGES, Recipe

MAX_SHARD_SIZE = "15MB"  # source code hosts reject large files


def export(
    recipe: Recipe,
    output: Path,
    *,
    num_inference_steps: int = 1,
    detail: float = 1.0,
    validation: Path | None = None,
) -> None:
    """Write the weights trained by the recipe's stage to the folder `output`; see `write_model`.

    num_inference_steps, detail: defaults of the model; choose those that score best.
    validation: `report.json` of `patchvsr evaluate`, whose mean scores are added to the provenance.

    Raises OutputError if `output` exists, and SettingsError for steps of a restorer, which takes none.
    """
    _check_new(output)
    if recipe.stage == "restorer" and num_inference_steps:
        raise SettingsError(f"{recipe.name} takes no denoising steps: give 0 instead of {num_inference_steps}")
    autoencoder, transformer = trained_modules(recipe)
    settings: dict[str, Any] = {
        "noise_timestep": recipe.min_noise_timestep,
        "still_noise": recipe.still_noise,
        "detail": detail,
    }
    if recipe.stage in ("autoencoder", "base"):  # patch size of the transformer, not of this stage
        before = PatchVSRPipeline.load_config(resolve_model(recipe.init))
        settings |= {name: before[name] for name in ("patch_px", "patch_frames")}
    elif transformer is None:
        settings = {}
    else:
        settings |= {"patch_px": max(recipe.size_choices), "patch_frames": recipe.num_frames}
    write_model(
        transformer,
        autoencoder,
        output,
        base=recipe.base,
        provenance=_provenance(recipe, validation),
        num_inference_steps=num_inference_steps,
        **settings,
    )


def write_model(
    transformer: PatchVSRTransformer3DModel | None,
    autoencoder: Any,
    folder: Path,
    *,
    base: str,
    provenance: Mapping[str, Any],
    num_inference_steps: int = 1,
    **settings: Any,
) -> None:
    """Write a model with its card, provenance and digests of the weights atomically into a new folder.

    The bundled model, and any base that was itself trained, is written as a whole pipeline with LoRA fused. For other
    bases only the adapter and LoRA are written, and the light decoder if there is one, else the autoencoder if its
    parameters are trainable; `base` must then be a name that users can resolve. Weights are written in bfloat16, and
    the given modules are converted in place.

    transformer: None for a feed-forward model. settings: arguments of `PatchVSRPipeline`.

    Raises OutputError if the folder exists, and ModelError if base weights were trained, which an adapter cannot hold.
    """
    folder = Path(folder)
    _check_new(folder)
    known = find_base(base)
    whole = isinstance(known, BundledModel) or base_was_trained(provenance)
    settings = {
        "patch_px": known.patch_px,
        "patch_frames": known.patch_frames,
        "num_inference_steps": num_inference_steps,
    } | settings
    with files.new_folder(folder) as partial:
        if transformer is None or whole:
            _write_pipeline(transformer, autoencoder, partial, known, settings)
        else:
            _write_adapter(transformer, autoencoder, partial, known, settings)
        _forget_folders(partial)
        (partial / "README.md").write_text(model_card(folder.name, known, provenance, settings))
        recorded = {**provenance, "weights_sha256": weight_digests(partial)}
        (partial / "provenance.json").write_text(json.dumps(recorded, indent=1) + "\n")


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise OutputError(f"{folder} exists: choose another folder")


def _write_pipeline(
    transformer: PatchVSRTransformer3DModel | None, autoencoder: Any, folder: Path, base: Base, settings: dict[str, Any]
) -> None:
    if transformer is not None:
        if getattr(transformer, "peft_config", None):
            transformer.fuse_lora()
            transformer.unload_lora()
        cast_as_loaded(transformer, torch.bfloat16)
    cast_as_loaded(autoencoder, torch.bfloat16)
    pipeline = PatchVSRPipeline(transformer, autoencoder, new_scheduler(base.name), **settings)
    pipeline.save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)


def _write_adapter(
    transformer: PatchVSRTransformer3DModel, autoencoder: Any, folder: Path, base: Base, settings: dict[str, Any]
) -> None:
    for name, parameter in transformer.named_parameters():
        if parameter.requires_grad and ".lora_" not in name and not ADAPTER_KEYS.fullmatch(name):
            raise ModelError(f"the base's own {name} was trained: an adapter cannot hold it, train LoRA instead")
    cast_as_loaded(transformer, torch.bfloat16)
    name = base.repository or base.name
    save_adapter(transformer, folder, base_name=name, pipeline=settings, overwrite=True)  # the folder is new and empty
    if isinstance(autoencoder, LightAutoencoder):
        cast_as_loaded(autoencoder.decoder, torch.bfloat16)
        autoencoder.decoder.save_pretrained(folder / LIGHT_DECODER)
    elif any(parameter.requires_grad for parameter in autoencoder.parameters()):
        cast_as_loaded(autoencoder, torch.bfloat16)
        autoencoder.save_pretrained(folder / OWN_AUTOENCODER)


def _forget_folders(folder: Path) -> None:
    """Remove the folders that parts were loaded from, which diffusers records with them."""
    for file in folder.rglob("config.json"):
        config = json.loads(file.read_text())
        if "_name_or_path" in config:
            del config["_name_or_path"]
            file.write_text(json.dumps(config, indent=2) + "\n")


def _provenance(last: Recipe, validation: Path | None) -> dict[str, Any]:
    """Collect the recipe, steps and duration of every stage, the data digest, and the initial model.

    Folders of this machine are left out: they are of no use elsewhere, and may tell who trained the model.
    """
    stages = {}
    for stage in STAGES[: STAGES.index(last.stage) + 1]:
        run = last.run_of(stage)
        if checkpoints(run):
            state = read_state(last_checkpoint(run))
            minutes = round(_seconds(read_log(run)) / 60, 1)
            recipe = {name: value for name, value in state["recipe"].items() if name not in PLACES}
            stages[run.name] = {"steps": state["step"], "minutes": minutes, "recipe": recipe}
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
        means = json.loads(file.read_text())["means"]
        return {method: {name: score["mean"] for name, score in scores.items()} for method, scores in means.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{file} is no report.json of `patchvsr evaluate`: {error}") from None


def _seconds(events: list[dict[str, Any]]) -> float:
    """Sum the training time: each event covers the steps since the previous one."""
    seconds, last_step = 0.0, 0
    for event in events:
        if "seconds_per_step" in event:
            seconds += event["seconds_per_step"] * (event["step"] - last_step)
            last_step = event["step"]
    return seconds
