"""Wan's autoencoder as a autoencoder, against diffusers' own use of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy
import toy_wan

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.tiles import decode_tiled, encode_condition_tiled
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size

pytestmark = pytest.mark.parametrize("flavour", toy_wan.FLAVOURS)
CELL = {"wan2.1": 8, "wan2.2": 16}


@torch.no_grad()
def test_latents_and_pixels_are_those_of_diffusers(flavour: str) -> None:
    autoencoder, vae = toy_wan.autoencoder(flavour), toy_wan.vae(flavour)
    assert isinstance(autoencoder, Autoencoder)
    video = toy.randn(2, 3, 9, 48, 64).clamp(-1, 1)
    mean, std = (
        torch.tensor(toy_wan.FLAVOURS[flavour][name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    mode = vae.encode(video).latent_dist.mode()
    latents = autoencoder.encode(video)
    assert latents.shape == (2, autoencoder.geometry.latent_channels, 3, 48 // CELL[flavour], 64 // CELL[flavour])
    torch.testing.assert_close(latents, (mode - mean) / std)
    assert torch.equal(autoencoder.encode_condition(video), latents)
    torch.testing.assert_close(autoencoder.decode(latents, video), vae.decode(mode).sample, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("frames", "height", "width"), [(8, 32, 32), (5, 40, 36), (5, 36, 40)])
def test_refuses_what_diffusers_would_cut(flavour: str, frames: int, height: int, width: int) -> None:
    autoencoder = toy_wan.autoencoder(flavour)
    video = torch.zeros(1, 3, frames, height, width)
    for use in (autoencoder.encode, lambda video: autoencoder.decode(torch.zeros(1, 4, 2, 2, 2), video)):
        with pytest.raises(ValueError, match="4k\\+1 frames"):
            use(video)


def test_refuses_latents_of_another_size_than_the_reference(flavour: str) -> None:
    autoencoder, cells = toy_wan.autoencoder(flavour), 32 // CELL[flavour]
    reference = torch.zeros(1, 3, 5, 32, 32)
    for wrong in ((1, cells, cells), (2, cells + 1, cells), (2, cells, cells - 1)):
        with pytest.raises(ValueError, match="the reference covers"):
            autoencoder.decode(torch.zeros(1, 4, *wrong), reference)


@torch.no_grad()
def test_later_frames_do_not_change_earlier_latents(flavour: str) -> None:
    autoencoder, video = toy_wan.autoencoder(flavour), toy.randn(1, 3, 9, 32, 32)
    torch.testing.assert_close(autoencoder.encode(video)[:, :, :2], autoencoder.encode(video[:, :, :5]))


@torch.no_grad()
def test_tiles_equal_the_whole_but_for_the_attention(flavour: str) -> None:
    autoencoder = toy_wan.autoencoder(flavour)
    canvas = toy.randn(3, 5, 32, 48 * CELL[flavour]).clamp(-1, 1)

    def differences() -> list[float]:
        frames, size = canvas.unbind(1), Size.of(canvas)
        latents, tiled_latents = (encode_condition_tiled(autoencoder, frames, size, px) for px in (4096, 128))
        video, tiled_video = (decode_tiled(autoencoder, latents, canvas, px, **toy.KNOWN) for px in (4096, 128))
        pairs = ((latents, tiled_latents), (video, tiled_video))
        return [((whole - tiled).abs().mean() / whole.std()).item() for whole, tiled in pairs]

    assert max(differences()) < 0.1
    for half in (autoencoder.encoder, autoencoder.decoder):
        half.mid_block.attentions[0].proj.weight.zero_()
    assert max(differences()) < 1e-4


@torch.no_grad()
def test_saved_with_a_pipeline_and_loaded_in_bfloat16(flavour: str, tmp_path: Path) -> None:
    autoencoder = toy_wan.autoencoder(flavour)
    adapter = toy.transformer_of(autoencoder)
    PatchVSRPipeline(adapter, autoencoder, patch_px=64, patch_frames=9).save_pretrained(tmp_path)
    loaded = PatchVSRPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert isinstance(loaded.vae, WanAutoencoder)
    assert loaded.vae.dtype == torch.bfloat16
    video = toy.video(6, 20, 24)
    loaded.set_progress_bar_config(disable=True)
    frames = loaded(video, num_inference_steps=1).frames
    assert frames.shape == (6, 3, 80, 96)
    assert frames.dtype == torch.float32
    exact = PatchVSRPipeline.from_pretrained(tmp_path)
    exact.set_progress_bar_config(disable=True)
    assert (frames - exact(video, num_inference_steps=1).frames).abs().mean() < 0.01
