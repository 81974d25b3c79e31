"""Toy Wan bases in diffusers' format, and a Hub cache as huggingface_hub lays it out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import toy
from diffusers import WanTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.models.wan_base.light_decoder import LightDecoder

LATENT_CHANNELS = 4
WAN21 = dict(
    base_dim=4,
    z_dim=LATENT_CHANNELS,
    dim_mult=[1, 1, 1, 1],
    num_res_blocks=1,
    temperal_downsample=[False, True, True],
    latents_mean=[0.1, 0.2, -0.3, 0.0],
    latents_std=[1.0, 2.0, 0.5, 1.5],
)
WAN22 = WAN21 | dict(is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16)
FLAVOURS = {"wan2.1": WAN21, "wan2.2": WAN22}
CELL_PX = {"wan2.1": 8, "wan2.2": 16}
BASE = "owner/toy-base"


def vae(flavour: str = "wan2.1") -> AutoencoderKLWan:
    torch.manual_seed(0)
    return toy.randomised(AutoencoderKLWan(**FLAVOURS[flavour]), std=0.03).eval()


def autoencoder(flavour: str = "wan2.1") -> WanAutoencoder:
    model = WanAutoencoder(**FLAVOURS[flavour]).eval()
    model.load_state_dict(vae(flavour).state_dict())
    return model


def light_decoder(flavour: str = "wan2.1") -> LightDecoder:
    """Untrained, as a training begins with it."""
    torch.manual_seed(0)
    return LightDecoder(
        latent_channels=LATENT_CHANNELS, cell_px=CELL_PX[flavour], restorer_channels=8, num_restorer_blocks=4,
        latent_hidden=16, num_decoder_blocks=2,
    ).eval()  # fmt: skip


def light_autoencoder(flavour: str = "wan2.1", *, std: float = 0.15) -> LightAutoencoder:
    """With a trained-looking decoder: its detail is about as strong as what the restorer adds."""
    return LightAutoencoder.of(autoencoder(flavour), toy.randomised(light_decoder(flavour), std=std))


def base(**sizes: Any) -> WanTransformer3DModel:
    return toy.base(**(dict(in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS) | sizes))


def save_base(folder: Path, flavour: str = "wan2.1", **sizes: Any) -> Path:
    """Transformer and autoencoder, saved by diffusers' own classes."""
    base(**sizes).save_pretrained(folder / "transformer")
    vae(flavour).save_pretrained(folder / "vae")
    return folder


def save_text_encoder(folder: Path) -> Path:
    """A tokenizer of single words and a UMT5 of a few kilobytes, its embedding stored once as in Wan's files."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", "sharp", "clean", "video"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")

    torch.manual_seed(0)
    config = UMT5Config(vocab_size=len(words), d_model=toy.TEXT_DIM, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    UMT5EncoderModel(config).bfloat16().save_pretrained(folder / "text_encoder")
    stored = load_file(folder / "text_encoder" / "model.safetensors")
    assert "encoder.embed_tokens.weight" not in stored
    settings = json.loads((folder / "text_encoder" / "config.json").read_text())
    settings["tie_word_embeddings"] = False  # as Wan's config says
    (folder / "text_encoder" / "config.json").write_text(json.dumps(settings))
    return folder


def put_into_cache(cache: Path, repository: str, folder: Path) -> None:
    """As if `repository` had been downloaded."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
