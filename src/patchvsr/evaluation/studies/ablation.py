"""What the parts of a model are worth: the same clip without each of them, in turn (paper, ablation of the branches).

Parts are left out of the finished model. What training without them would give takes a training:
benchmarks/ablations.py does that with the same changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from patchvsr.evaluation.studies.clips import StudyClip
from patchvsr.evaluation.studies.restored import METRICS, Row, restore, scores
from patchvsr.models.transformer import PatchConditions, PatchFeatures, PatchVSRTransformer3DModel
from patchvsr.pipeline import PatchVSRPipeline

Change = Callable[[PatchVSRTransformer3DModel], AbstractContextManager[None]]


@contextmanager
def without_global_branch(transformer: PatchVSRTransformer3DModel) -> Iterator[None]:
    """Attend to the prompt only."""
    encode = transformer.encode_conditions

    def blind(conditions: PatchConditions) -> PatchFeatures:
        features = encode(conditions)
        return replace(features, global_tokens=features.global_tokens[:, :0])

    with _encoding(transformer, blind):
        yield


@contextmanager
def without_location(transformer: PatchVSRTransformer3DModel) -> Iterator[None]:
    """Remove location mask and crop box, because either of them reveals the position."""
    encode = transformer.encode_conditions

    def lost(conditions: PatchConditions) -> PatchFeatures:
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).to(conditions.crop_box).expand_as(conditions.crop_box)
        mask = torch.zeros_like(conditions.location_mask)
        return encode(replace(conditions, location_mask=mask, crop_box=whole))

    with _encoding(transformer, lost):
        yield


@contextmanager
def without_prompt(transformer: PatchVSRTransformer3DModel) -> Iterator[None]:
    """Set the fixed prompt to zero."""
    prompt = transformer.prompt_embeds.data
    transformer.prompt_embeds.data = torch.zeros_like(prompt)
    try:
        yield
    finally:
        transformer.prompt_embeds.data = prompt


@contextmanager
def without_lora(transformer: PatchVSRTransformer3DModel) -> Iterator[None]:
    """Use the layers of the base as they were."""
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()


@contextmanager
def _encoding(
    transformer: PatchVSRTransformer3DModel, encode: Callable[[PatchConditions], PatchFeatures]
) -> Iterator[None]:
    transformer.encode_conditions = encode  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del transformer.encode_conditions


@dataclass(frozen=True)
class Variant:
    """A model without one part.

    change: what is taken out of the transformer. settings: arguments of the pipeline's call that do the same.
    why_not: a reason why this model has no such part, or None.
    """

    change: Change = nullcontext  # type: ignore[assignment]
    settings: Mapping[str, Any] = field(default_factory=dict)
    why_not: Callable[[PatchVSRPipeline, float], str | None] = lambda pipeline, noise: None


def _lora_is_merged(pipeline: PatchVSRPipeline, noise: float) -> str | None:
    loaded = getattr(pipeline.transformer, "_hf_peft_config_loaded", False)
    return None if loaded else "this model's LoRA is merged into its weights"


def _noise_is_off(pipeline: PatchVSRPipeline, noise: float) -> str | None:
    return None if noise else "the noise timestep is 0 already"


VARIANTS = {
    "all": Variant(),
    "without patch branch": Variant(settings={"branch_scale": 0.0}),
    "without global branch": Variant(without_global_branch),
    "without location mask": Variant(without_location),
    "without LoRA": Variant(without_lora, why_not=_lora_is_merged),
    "without fixed prompt": Variant(without_prompt),
    "without noise augmentation": Variant(settings={"noise_timestep": 0.0}, why_not=_noise_is_off),
}


def ablation(
    pipeline: PatchVSRPipeline,
    clips: Iterable[StudyClip],
    *,
    steps: Sequence[int] = (1,),
    noise_timestep: float | None = None,
    metrics: Sequence[str] = METRICS,
) -> Iterator[Row]:
    """Yield one row per clip, number of steps (1 or more) and variant.

    A row has the scores, and `velocity_change`: how far the velocity of the first step is from that of the whole model,
    relative to it (root mean square). A part that is dead changes nothing: 0.

    noise_timestep: noise augmentation of all variants but the one without; the model's own by default.
    """
    noise = pipeline.config.noise_timestep if noise_timestep is None else noise_timestep
    for clip in clips:
        for count in steps:
            whole: Tensor | None = None
            for name, variant in VARIANTS.items():
                row: Row = {"clip": clip.name, "variant": name, "steps": count}
                if reason := variant.why_not(pipeline, noise):
                    yield row | {"skipped": reason}
                    continue
                with variant.change(pipeline.transformer):
                    restored = restore(
                        pipeline, clip, steps=count, **({"noise_timestep": noise} | dict(variant.settings))
                    )
                assert restored.velocity is not None
                whole = restored.velocity if whole is None else whole
                yield row | {
                    "velocity_change": relative_change(restored.velocity, whole),
                    **scores(clip, restored.frames, metrics),
                }


def relative_change(changed: Tensor, original: Tensor) -> float:
    """Return the root mean square of the difference over that of the original."""
    return float((changed - original).norm() / original.norm())
