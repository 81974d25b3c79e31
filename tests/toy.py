"""The real classes at toy size: built in milliseconds, and random where zero gates would hide a bug."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from diffusers import WanTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Generator, Tensor, nn

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.mini.detail import CELL_PX, BandEnergies
from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
from patchvsr.models.mini.restorer import PreviousFrame
from patchvsr.models.mini.sizes import feed_forward
from patchvsr.models.transformer import PatchConditions, PatchVSRTransformer3DModel
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.sampling.schedule import set_steps

PATCH_PX = 64
PATCH_CELLS = PATCH_PX // CELL_PX
PROMPT_LENGTH = 3
TEXT_DIM = 8
LATENT_CHANNELS = BandEnergies.count
CONDITION_CHANNELS = 8
KNOWN = {"restoration": 0.3, "scale": 4.0}  # of an input, for tiles
KNOWN_OF_CLIPS = {name: torch.tensor([value]) for name, value in KNOWN.items()}

Module = TypeVar("Module", bound=nn.Module)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def video(num_frames: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Frames (F, 3, h, w) in [0, 1]."""
    return torch.rand((num_frames, 3, height, width), generator=seeded(seed))


@torch.no_grad()
def randomised(module: Module, *, std: float = 0.1, seed: int = 0) -> Module:
    """Adds noise to every parameter: gates that start at zero open, norms and biases matter."""
    generator = seeded(seed)
    for parameter in module.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=std)
    for previous in module.modules():
        if isinstance(previous, PreviousFrame):  # features of noise lie so far apart that all gates would be shut
            previous.gate.weight.mul_(0.01)
    return module


def autoencoder(*, std: float = 0.06, **sizes: Any) -> ResidualAutoencoder:
    """With trained-looking weights: conditions are about as large as latents, detail as what the restorer adds."""
    torch.manual_seed(0)
    toy = dict(
        condition_channels=CONDITION_CHANNELS,
        condition_hidden=16,
        restorer_channels=8,
        num_restorer_blocks=4,
        latent_hidden=16,
        num_decoder_blocks=2,
    )
    return randomised(ResidualAutoencoder(**(toy | sizes)), std=std).eval()


def base(**sizes: Any) -> WanTransformer3DModel:
    torch.manual_seed(0)
    toy = dict(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_DIM,
        freq_dim=16,
        ffn_dim=32,
        num_layers=4,
        rope_max_seq_len=32,
    )
    return WanTransformer3DModel(**(toy | sizes)).eval()


def base_of(autoencoder: Autoencoder) -> WanTransformer3DModel:
    """The toy base for the latents of this autoencoder."""
    channels = autoencoder.geometry.latent_channels
    return base(in_channels=channels, out_channels=channels)


def transformer_of(autoencoder: Autoencoder, **adapter: Any) -> PatchVSRTransformer3DModel:
    """The toy base with an adapter, for the latents and conditions of this autoencoder."""
    return transformer(base_of(autoencoder), condition_channels=autoencoder.geometry.condition_channels, **adapter)


def transformer(
    base_model: WanTransformer3DModel | None = None, *, prompt_length: int = PROMPT_LENGTH, **adapter: Any
) -> PatchVSRTransformer3DModel:
    """The toy base with a dual-branch adapter, its gates at zero."""
    base_model = base() if base_model is None else base_model
    torch.manual_seed(1)
    settings = dict(condition_channels=CONDITION_CHANNELS, num_branch_blocks=2) | adapter
    prompt = randn(1, prompt_length, TEXT_DIM)
    return PatchVSRTransformer3DModel.from_base(base_model, prompt_embeds=prompt, **settings).eval()


def trained(model: PatchVSRTransformer3DModel, *, rank: int = 2) -> PatchVSRTransformer3DModel:
    """Every gate open, as if adapter and LoRA had been trained."""
    model.train_adapter_and_lora(rank=rank)
    generator = seeded()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.1)
    return model


def bfloat16(base_model: WanTransformer3DModel) -> WanTransformer3DModel:
    """As diffusers loads a bfloat16 Wan: norms, tables and the time embedder stay in float32."""
    for name, parameter in base_model.named_parameters():
        if not any(kept in name for kept in base_model._keep_in_fp32_modules):
            parameter.data = parameter.data.bfloat16()
    return base_model


def noisy_latents(num_patches: int = 2, channels: int = LATENT_CHANNELS) -> Tensor:
    return randn(num_patches, channels, 2, PATCH_CELLS, 2 * PATCH_CELLS, seed=7)


def timesteps(num_patches: int = 2) -> Tensor:
    return torch.linspace(900, 300, num_patches)


def conditions(num_patches: int = 2, channels: int = CONDITION_CHANNELS) -> PatchConditions:
    """Of patches that are twice as wide as high, so that mixed-up sides cannot pass."""
    mask = torch.zeros(num_patches, 1, PATCH_CELLS, 2 * PATCH_CELLS)
    mask[:, :, :2, :4] = 1
    return PatchConditions(
        patch_latents=randn(num_patches, channels, 2, PATCH_CELLS, 2 * PATCH_CELLS, seed=8),
        global_latents=randn(num_patches, channels, 2, PATCH_CELLS, 2 * PATCH_CELLS, seed=9),
        location_mask=mask,
        scale=torch.full((num_patches,), 4.0),
        crop_box=torch.tensor([0.0, 0.25, 0.5, 0.75]).expand(num_patches, -1),
        noise_timestep=torch.full((num_patches,), 200.0),
    )


def pipeline(*, seed: int = 0, **settings: Any) -> PatchVSRPipeline:
    """Random throughout, so that every part of it counts.

    Restorer and latents change a pixel by about four levels of 255 each: enough for the bytes of every output, and
    little enough for jobs, which refuse what does not look like its input.
    """
    vae = autoencoder()
    with torch.no_grad():
        vae.decoder.guide.weight.mul_(0.3)  # or it would outweigh the latents
        for head in (vae.restorer.head, vae.decoder.head):
            head.weight.mul_(0.05)
            head.bias.zero_()
    pipe = PatchVSRPipeline(
        randomised(transformer(), seed=seed),
        vae,
        patch_px=PATCH_PX,
        patch_frames=5,
        **(dict(num_inference_steps=2) | settings),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def feed_forward_pipeline(whole: PatchVSRPipeline | None = None) -> PatchVSRPipeline:
    """The restorer of a pipeline alone, of `pipeline` if none is given."""
    whole = whole or pipeline()
    pipe = PatchVSRPipeline(None, feed_forward(whole.vae.restorer).eval(), num_inference_steps=0)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def scheduler(num_inference_steps: int, *, shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    """With its steps set, ready for one run of `denoise`."""
    return set_steps(FlowMatchEulerDiscreteScheduler(shift=shift), num_inference_steps)
