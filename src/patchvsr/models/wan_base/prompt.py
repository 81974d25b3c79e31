"""Fixed prompt: encoded once by the base's text encoder and stored, so no text encoder runs afterwards."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from patchvsr import files
from patchvsr.errors import ModelError
from patchvsr.models.registry import find_base
from patchvsr.models.wan_base.base import base_folder, load_part

# The paper does not publish its prompt. This one describes the desired quality, not the content of a patch.
FIXED_PROMPT = (
    "A sharp, clean, high-quality video with fine natural detail, realistic textures and crisp edges, "
    "free of blur, noise and compression artifacts."
)
PROMPT_LENGTH = 512  # Wan was trained with prompts padded to this many tokens


def fixed_prompt(name_or_folder: str, file: Path, prompt: str = FIXED_PROMPT) -> Tensor:
    """Return the prompt embedding (1, 512, text_dim), encoding it and writing `file` on first use.

    With several processes, one encodes and the others wait. Raises ModelError if the file was made with another prompt
    or base, or cannot be read.
    """
    made_of = {"base": find_base(name_or_folder).name, "prompt": prompt}
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            if not file.exists():
                embeds = encode_prompt(name_or_folder, prompt)
                with files.new_file(file) as temporary:
                    save_file({"prompt_embeds": embeds}, temporary, metadata=made_of)
    try:
        with safe_open(file, framework="pt") as stored:
            metadata, embeds = stored.metadata(), stored.get_tensor("prompt_embeds")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} holds no prompt: {error}: delete it to have it made again") from None
    if metadata != made_of:
        raise ModelError(f"{file} was made from {metadata}, needed is {made_of}: delete it or choose another file")
    return embeds


def prompt_file(name_or_folder: str) -> Path:
    """Return where `patchvsr cache-prompt` keeps the prompt of a base: in PATCHVSR_CACHE, or ~/.cache/patchvsr."""
    base = find_base(name_or_folder)
    name = str(Path(base.name).resolve()) if base.repository is None else base.name
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", Path(name).name)
    cache = Path(os.environ.get("PATCHVSR_CACHE") or "~/.cache/patchvsr").expanduser()
    return cache / "prompts" / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.safetensors"


def cached_prompt(name_or_folder: str) -> Tensor:
    """Return the prompt embedding that `patchvsr cache-prompt` has made. Raises ModelError if there is none."""
    file = prompt_file(name_or_folder)
    if not file.exists():
        raise ModelError(
            f"the fixed prompt of {name_or_folder} is not encoded yet; run once: patchvsr cache-prompt {name_or_folder}"
        )
    return fixed_prompt(name_or_folder, file)


@torch.no_grad()
def encode_prompt(name_or_folder: str, prompt: str = FIXED_PROMPT) -> Tensor:
    """Encode a prompt with the base's text encoder in bfloat16: (1, 512, text_dim).

    The tokenizer and text encoder (11 GB for Wan) are loaded for this call only. Raises ModelError as `load_base` does.
    """
    from diffusers import WanPipeline
    from transformers import AutoTokenizer, UMT5EncoderModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = base_folder(name_or_folder, ("tokenizer", "text_encoder"))
    tokenizer = load_part(AutoTokenizer, folder / "tokenizer")
    encoder = load_part(UMT5EncoderModel, folder / "text_encoder", dtype=torch.bfloat16, use_safetensors=True)
    # Some releases of transformers 5 silently leave Wan's second name for the same embedding uninitialised.
    encoder.set_input_embeddings(encoder.shared)
    pipeline = WanPipeline(tokenizer=tokenizer, text_encoder=encoder.eval(), vae=None, scheduler=None)
    embeds, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=PROMPT_LENGTH)
    return embeds
