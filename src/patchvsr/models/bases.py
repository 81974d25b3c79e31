"""Bases: pre-trained text-to-video transformers with their autoencoders, which an adapter is trained on.

Any Wan text-to-video model in diffusers' format will do, by name, from the Hub or a folder: its `transformer` and
`vae` are all that is loaded. The text encoder runs once, before training: an adapter stores its one fixed prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models.codec import Codec
from patchvsr.models.registry import check_hub_name, download
from patchvsr.models.transformer import PatchVSRTransformer3DModel
from patchvsr.models.wan_codec import WanCodec

# The paper names no text. This one says what every restored patch should be and nothing about its content.
FIXED_PROMPT = (
    "A sharp, clean, high-quality video with fine natural detail, realistic textures and crisp edges, "
    "free of blur, noise and compression artifacts."
)
PROMPT_LENGTH = 512  # Wan was trained with prompts padded to this many tokens


@dataclass(frozen=True)
class Base:
    """What training and pipeline need to know about a base; the defaults fit every Wan.

    repository: Hub name in diffusers' format; None for a folder, and for the bundled model's base, which the recipe
        `mini_base` trains.
    license: SPDX name where it is known.
    patch_px, patch_frames: size of a patch, the one that the base is used at.
    num_branch_blocks: blocks of the patch branch of a new adapter.
    """

    name: str
    repository: str | None = None
    license: str | None = None
    patch_px: int = 512
    patch_frames: int = 17
    num_branch_blocks: int = 4


MINI = Base("mini", num_branch_blocks=2)
BASES = {
    base.name: base
    for base in (
        MINI,
        Base("wan2.1-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "apache-2.0"),
        Base("wan2.1-14b", "Wan-AI/Wan2.1-T2V-14B-Diffusers", "apache-2.0"),
        Base("wan2.2-5b", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "apache-2.0"),
    )
}


def find_base(name_or_folder: str) -> Base:
    """A base by its short name, Hub name or folder; raises ModelError for what can be none of these."""
    for base in BASES.values():
        if name_or_folder in (base.name, base.repository):
            return base
    if Path(name_or_folder).is_dir():
        return Base(name_or_folder)
    known = ", ".join(BASES)
    check_hub_name(
        name_or_folder,
        f"unknown base {name_or_folder!r}: give one of {known}, a folder in diffusers' format, or a Hub name",
    )
    return Base(name_or_folder, repository=name_or_folder)


def load_base(
    name_or_folder: str, *, dtype: torch.dtype, codec_folder: Path | None = None
) -> tuple[WanTransformer3DModel, Codec]:
    """A base's transformer and autoencoder, in evaluation mode; `codec_folder` takes the place of its `vae`.

    Raises ModelError where there is no such base, it is incomplete, or it is neither cached nor to be downloaded.
    """
    parts = ("transformer",) if codec_folder else ("transformer", "vae")
    folder = _base_folder(name_or_folder, parts)
    transformer = _load(WanTransformer3DModel, folder / "transformer", dtype=dtype, use_safetensors=True)
    codec = _load(WanCodec, codec_folder or folder / "vae", dtype=dtype, use_safetensors=True)
    if transformer.config.in_channels != codec.latent_channels:
        raise ModelError(
            f"{folder}: the transformer takes latents of {transformer.config.in_channels} channels, "
            f"the autoencoder gives {codec.latent_channels}: a text-to-video base is needed"
        )
    return transformer, codec


def new_transformer(
    name_or_folder: str, prompt_embeds: Tensor, *, dtype: torch.dtype
) -> tuple[PatchVSRTransformer3DModel, Codec]:
    """A base with a new adapter around it, which changes nothing yet, and its codec.

    `prompt_embeds` (1, prompt_length, text_dim) comes from `fixed_prompt`. Raises ModelError as `load_base` does, and
    for a base that is no text-to-video model.
    """
    base, codec = load_base(name_or_folder, dtype=dtype)
    try:
        transformer = PatchVSRTransformer3DModel.from_base(
            base,
            prompt_embeds=prompt_embeds,
            condition_channels=codec.condition_channels,
            num_branch_blocks=find_base(name_or_folder).num_branch_blocks,
        )
    except ValueError as error:
        raise ModelError(f"{name_or_folder}: {error}") from None
    return transformer, codec


def fixed_prompt(name_or_folder: str, file: Path, prompt: str = FIXED_PROMPT) -> Tensor:
    """The embedding of the prompt, read from `file`, or encoded and written there the first time, by one process.

    Raises ModelError where the file holds another prompt or another base's, or cannot be read.
    """
    made_of = {"base": find_base(name_or_folder).name, "prompt": prompt}
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            if not file.exists():
                embeds = encode_prompt(name_or_folder, prompt)
                partial = file.with_name(f".{file.name}.partial")
                save_file({"prompt_embeds": embeds}, partial, metadata=made_of)
                partial.replace(file)
    try:
        with safe_open(file, framework="pt") as stored:
            metadata, embeds = stored.metadata(), stored.get_tensor("prompt_embeds")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} holds no prompt: {error}: delete it to have it made again") from None
    if metadata != made_of:
        raise ModelError(f"{file} was made from {metadata}, needed is {made_of}: delete it or choose another file")
    return embeds


@torch.no_grad()
def encode_prompt(name_or_folder: str, prompt: str = FIXED_PROMPT) -> Tensor:
    """The base's own embedding (1, 512, text_dim) of a prompt, in bfloat16 as its text encoder is run.

    Loads tokenizer and text encoder (for Wan 11 GB) and lets them go again. Raises ModelError as `load_base` does.
    """
    from diffusers import WanPipeline
    from transformers import AutoTokenizer, UMT5EncoderModel

    folder = _base_folder(name_or_folder, ("tokenizer", "text_encoder"))
    tokenizer = _load(AutoTokenizer, folder / "tokenizer")
    encoder = _load(UMT5EncoderModel, folder / "text_encoder", dtype=torch.bfloat16, use_safetensors=True)
    # Some releases of transformers 5 leave Wan's second name for the same embedding uninitialised, without a word.
    encoder.set_input_embeddings(encoder.shared)
    pipeline = WanPipeline(tokenizer=tokenizer, text_encoder=encoder.eval(), vae=None, scheduler=None)
    embeds, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=PROMPT_LENGTH)
    return embeds


def _base_folder(name_or_folder: str, parts: tuple[str, ...]) -> Path:
    """Where the base's parts lie, downloaded if they have to be."""
    base = find_base(name_or_folder)
    if base is MINI:
        raise ModelError("the base of mini is trained (patchvsr train mini_base), not loaded")
    if base.repository is None:
        return Path(name_or_folder)
    return download(base.repository, [f"{part}/*" for part in parts])


def _load(part: Any, folder: Path, **options: Any) -> Any:
    if not folder.is_dir():
        raise ModelError(f"{folder} is missing: a base needs its {folder.name} in diffusers' format")
    try:
        model = part.from_pretrained(str(folder), **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"cannot load {folder}: {reason}") from error
    return model.eval() if isinstance(model, torch.nn.Module) else model
