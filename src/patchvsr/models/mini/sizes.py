"""Build the untrained parts of the bundled model: a Wan transformer and an autoencoder for two CPU cores."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
from patchvsr.models.mini.restorer import Restorer
from patchvsr.models.transformer import PatchVSRTransformer3DModel

PROMPT_LENGTH, TEXT_DIM = 8, 64


def new_autoencoder() -> ResidualAutoencoder:
    """Return the untrained autoencoder: 2.7 M parameters, 1.3 M of them the restorer."""
    return ResidualAutoencoder()


def new_restorer() -> Restorer:
    """Return the untrained feed-forward restorer: 1.3 M parameters."""
    return Restorer()


def feed_forward(restorer: Restorer) -> ResidualAutoencoder:
    """Return the autoencoder of a model that consists of a restorer alone, with its weights."""
    channels, blocks = restorer.head.in_channels, len(restorer.blocks)
    autoencoder = ResidualAutoencoder(latent_channels=0, restorer_channels=channels, num_restorer_blocks=blocks)
    autoencoder.restorer.load_state_dict(restorer.state_dict())
    return autoencoder


def new_base(autoencoder: ResidualAutoencoder) -> WanTransformer3DModel:
    """Return the untrained bundled base: 8.0 M parameters, 8 layers, 4 heads of 64 channels.

    The output projection is initialised from the transposed patch embedding, so tokens pass through almost unchanged
    and the initial velocity is close to the noise.
    """
    base = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=64,
        in_channels=autoencoder.geometry.latent_channels,
        out_channels=autoencoder.geometry.latent_channels,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=768,
        num_layers=8,
        rope_max_seq_len=64,
    )
    with torch.no_grad():
        nn.init.orthogonal_(base.patch_embedding.weight.flatten(1))
        base.patch_embedding.bias.zero_()
        base.proj_out.bias.zero_()
        # Undo the norm before `proj_out`, which scales tokens by sqrt(dim / fan_in), and reorder each token's
        # (c, h, w) to (h, w, c).
        weight = base.patch_embedding.weight.squeeze(2)  # (D, C, 2, 2)
        scale = (weight[0].numel() / weight.shape[0]) ** 0.5
        base.proj_out.weight.copy_(scale * weight.permute(2, 3, 1, 0).flatten(0, 2))
        base.scale_shift_table.zero_()
    return base


def new_prompt() -> nn.Parameter:
    """Return a learnable fixed prompt: the bundled base has no text encoder and learns the prompt with its weights."""
    return nn.Parameter(torch.randn(1, PROMPT_LENGTH, TEXT_DIM))


def add_adapter(
    base: WanTransformer3DModel, autoencoder: ResidualAutoencoder, prompt_embeds: torch.Tensor
) -> PatchVSRTransformer3DModel:
    """Return the bundled transformer: the base with a zero-initialised dual-branch adapter of two branch blocks."""
    return PatchVSRTransformer3DModel.from_base(
        base,
        prompt_embeds=prompt_embeds,
        condition_channels=autoencoder.geometry.condition_channels,
        num_branch_blocks=2,
    )
