"""Model card: the README.md of a model folder, filled in from its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

from patchvsr.models.registry import Base, BundledModel, bundled_models

RECIPE_COLUMNS = {
    "batch_size": "batch",
    "num_frames": "frames",
    "sizes": "patch, px",
    "learning_rate": "learning rate",
}


def model_card(name: str, base: Base, provenance: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the text of the card, with the YAML metadata that the Hub reads.

    name: model folder. base: base it was trained on. provenance: contents of `provenance.json`. settings: arguments of
    its `PatchVSRPipeline`.
    """
    what = _what_feed_forward() if is_feed_forward(provenance) else _what(base, provenance, settings)
    sections = (
        _head(base),
        f"# {name}\n\n{what}",
        f"## Use\n\n{_use(name)}",
        f"## Training\n\n{_training(provenance)}",
        f"## Validation\n\n{_validation(provenance['validation'])}",
        f"## Limits\n\n{_limits(base)}",
        f"## Licence\n\n{_licence(base)}",
    )
    return "\n\n".join(sections) + "\n"


def _head(base: Base) -> str:
    data = ModelCardData(
        license="apache-2.0",
        library_name="diffusers",
        pipeline_tag="video-to-video",
        tags=["video-super-resolution", "patchvsr", *([] if isinstance(base, BundledModel) else ["adapter"])],
        base_model=base.repository,
        base_model_relation="adapter" if base.repository else None,
    )
    return f"---\n{data.to_yaml()}\n---"


def is_feed_forward(provenance: Mapping[str, Any]) -> bool:
    """Tell whether nothing but a restorer was trained."""
    return all(stage.endswith("_restorer") for stage in provenance["stages"])


def base_was_trained(provenance: Mapping[str, Any]) -> bool:
    """Tell whether the base itself was trained, so that the adapter alone is not the whole model."""
    return any(stage.endswith("_base") for stage in provenance["stages"])


def has_light_decoder(provenance: Mapping[str, Any]) -> bool:
    """Tell whether a decoder was trained, which on an open base is a light one."""
    return any(stage.endswith("_autoencoder") for stage in provenance["stages"])


def _what_feed_forward() -> str:
    return (
        "A feed-forward PatchVSR model: the restorer alone, without a transformer. It adds the detail that can be "
        "inferred from the input, frame by frame, and takes no denoising steps. It enlarges video to any size."
    )


def _what(base: Base, provenance: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if isinstance(base, BundledModel):
        what = (
            "A complete PatchVSR model: a small video diffusion transformer, its dual-branch adapter and autoencoder."
        )
    elif base_was_trained(provenance):
        what = f"A complete PatchVSR model: {_base_link(base)}, trained further, with its dual-branch adapter."
    else:
        what = f"A PatchVSR adapter for {_base_link(base)}: the dual branch, and LoRA where it was trained with it."
    if not isinstance(base, BundledModel) and has_light_decoder(provenance):
        what += " A light decoder, which starts from the input, takes the place of the base's own."
    side, steps, detail = settings["patch_px"], settings["num_inference_steps"], settings.get("detail", 1)
    share = "" if detail == 1 else f", share of the generated detail that is added: {detail:g}"
    return (
        f"{what} It enlarges video to any size, in patches of {side}x{side} pixels (after Du et al., CVPR 2025, arXiv "
        f"2509.26025). Default number of denoising steps: {steps}{share}."
    )


def _use(name: str) -> str:
    publication = f"`{name}` is this folder; on the Hub, put the owner before it.\n\n"
    publication = "" if name in bundled_models() else publication
    return (
        f"{publication}```sh\npatchvsr upscale clip.mp4 -o out.mkv --model {name}\n```\n\n"
        "```python\nimport torch\n\nfrom patchvsr import PatchVSRPipeline\n\n"
        f'pipe = PatchVSRPipeline.from_pretrained("{name}", dtype=torch.bfloat16)\n'
        "video = torch.rand(5, 3, 64, 64)  # frames, RGB, height, width; values from 0 to 1\n"
        "frames = pipe(video, scale=4).frames\n```"
    )


def _training(provenance: Mapping[str, Any]) -> str:
    stages: Mapping[str, Any] = provenance["stages"]
    columns = [key for key in RECIPE_COLUMNS if any(key in stage["recipe"] for stage in stages.values())]
    rows = [
        [name, stage["steps"], stage["minutes"], *(stage["recipe"].get(key, "") for key in columns)]
        for name, stage in stages.items()
    ]
    head = ["stage", "steps", "minutes", *(RECIPE_COLUMNS[key] for key in columns)]
    before = "" if "went_on_from" not in provenance else " It started from an earlier model, recorded there too."
    return (
        f"{_table(head, rows)}\n\nEvery setting is in `provenance.json`. Made with PatchVSR {provenance['patchvsr']}; "
        f"digest of the training data (SHA-256): `{provenance['data_sha256']}`.{before}"
    )


def _validation(scores: Mapping[str, Mapping[str, float]] | None) -> str:
    if not scores:
        return "None was recorded."
    metrics = list(dict.fromkeys(metric for row in scores.values() for metric in row))
    rows = [[method, *(_score(row.get(metric)) for metric in metrics)] for method, row in scores.items()]
    return _table(["", *metrics], rows)


def _limits(base: Base) -> str:
    size = (
        "It is small, made to run on a CPU."
        if isinstance(base, BundledModel)
        else "It does not include its base, which is loaded separately."
    )
    return (
        "- It invents plausible detail: not for evidence, medicine or measurement.\n"
        "- It was trained on synthetic degradations, see `provenance.json`; footage degraded otherwise may gain less.\n"
        "- Its quality is known only from the validation above, if any.\n"
        f"- {size}"
    )


def _licence(base: Base) -> str:
    if isinstance(base, BundledModel):
        return "Apache-2.0."
    terms = f"{base.license} when this was written" if base.license else "see there"
    return f"The adapter is Apache-2.0. The base, {_base_link(base)}, has its own licence ({terms})."


def _base_link(base: Base) -> str:
    return f"[{base.repository}](https://huggingface.co/{base.repository})" if base.repository else f"`{base.name}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([str(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _score(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if value == int(value) else f"{value:#.4g}"
