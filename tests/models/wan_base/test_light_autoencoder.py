"""The light decoder of a Wan base behind its encoder: untrained == canvas, tiled == whole, causal, saved == loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy
import toy_wan
from torch import Tensor

from patchvsr.errors import ModelError
from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.tiles import decode_tiled
from patchvsr.models.wan_base.autoencoder import WanAutoencoder
from patchvsr.models.wan_base.light_autoencoder import LightAutoencoder
from patchvsr.models.wan_base.light_decoder import LightDecoder
from patchvsr.pipeline import PatchVSRPipeline

pytestmark = pytest.mark.parametrize("flavour", toy_wan.FLAVOURS)


def clip(frames: int, height: int, width: int) -> Tensor:
    return toy.video(frames, height, width).transpose(0, 1)[None] * 2 - 1


def latents_of(autoencoder: Autoencoder, canvas: Tensor) -> Tensor:
    shape = autoencoder.geometry.latent_shape(*canvas.shape[-3:])
    return toy.randn(len(canvas), autoencoder.geometry.latent_channels, *shape)


@torch.no_grad()
def decoded(autoencoder: Autoencoder, latents: Tensor | None, canvas: Tensor) -> Tensor:
    return autoencoder.decode(latents, canvas, **toy.KNOWN_OF_CLIPS)


@torch.no_grad()
def test_latents_are_those_of_the_base_and_its_decoder_is_gone(flavour: str) -> None:
    autoencoder, base, video = toy_wan.light_autoencoder(flavour), toy_wan.autoencoder(flavour), clip(9, 48, 64)
    assert isinstance(autoencoder, Autoencoder)
    assert torch.equal(autoencoder.encode(video), base.encode(video))
    assert torch.equal(autoencoder.encode_condition(video), base.encode_condition(video))
    assert autoencoder.geometry == base.geometry and autoencoder.encoder_halo_px == base.encoder_halo_px
    of_encoder = {name.removeprefix("encoder.") for name in autoencoder.state_dict() if name.startswith("encoder.")}
    assert of_encoder == {name for name in base.state_dict() if name.startswith(("encoder.", "quant_conv."))}


def test_untrained_returns_exactly_the_canvas(flavour: str) -> None:
    untrained = LightAutoencoder.of(toy_wan.autoencoder(flavour), toy_wan.light_decoder(flavour))
    canvas = clip(5, 32, 48)
    for latents in (None, latents_of(untrained, canvas)):
        assert torch.equal(decoded(untrained, latents, canvas), canvas)


@torch.no_grad()
def test_without_latents_the_restorer_is_the_result(flavour: str) -> None:
    autoencoder, canvas = toy_wan.light_autoencoder(flavour), clip(5, 32, 48)
    restored, _ = autoencoder.decoder.restorer(canvas, None, **toy.KNOWN_OF_CLIPS)
    assert torch.equal(decoded(autoencoder, None, canvas), restored)
    assert (restored - canvas).abs().max() > 0.1
    assert (decoded(autoencoder, latents_of(autoencoder, canvas), canvas) - restored).abs().max() > 0.1
    known = autoencoder.estimate_restoration(canvas, torch.tensor([4.0]))
    assert torch.equal(known, autoencoder.decoder.restorer.estimate(canvas, torch.tensor([4.0])))


def test_a_latent_cell_changes_its_own_place(flavour: str) -> None:
    """Cells of 16 pixels are unfolded to the right four of 8. Random convolutions spread and shift it a little."""
    autoencoder, canvas, cell = toy_wan.light_autoencoder(flavour), clip(1, 96, 96), toy_wan.CELL_PX[flavour]
    latents = latents_of(autoencoder, canvas)
    changed = latents.clone()
    changed[..., 2, 3] += 3
    change = (decoded(autoencoder, changed, canvas) - decoded(autoencoder, latents, canvas)).abs()[0, :, 0].sum(dim=0)
    pixels = torch.arange(96) + 0.5
    centre = [(change.sum(dim=dim) @ pixels / change.sum() / cell).item() for dim in (1, 0)]
    assert centre == pytest.approx([2.5, 3.5], abs=0.75)


def test_causal_in_time(flavour: str) -> None:
    """Nine frames are three latent frames; a later one changes nothing before it, and its own frames."""
    autoencoder, canvas = toy_wan.light_autoencoder(flavour), clip(9, 32, 32)
    latents = latents_of(autoencoder, canvas)
    later_canvas, later_latents = canvas.clone(), latents.clone()
    later_canvas[:, :, 5:] += 0.5
    later_latents[:, :, 2:] += 1
    output = decoded(autoencoder, latents, canvas)
    for other in (decoded(autoencoder, latents, later_canvas), decoded(autoencoder, later_latents, canvas)):
        assert torch.equal(output[:, :, :5], other[:, :, :5])
        assert (output - other)[:, :, 5].abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [0, 1])
def test_frame_by_frame_equals_the_clip_exactly(flavour: str, dtype: torch.dtype, steps: int) -> None:
    autoencoder, canvas = toy_wan.light_autoencoder(flavour).to(dtype), clip(9, 48, 80)
    latents = latents_of(autoencoder, canvas).to(dtype) if steps else None
    one_by_one, state = autoencoder.decode_next(latents, canvas, None, **toy.KNOWN_OF_CLIPS)
    assert state is None
    assert torch.equal(one_by_one, decoded(autoencoder, latents, canvas))


@torch.no_grad()
@pytest.mark.parametrize(("tile_px", "height", "width"), [(48, 208, 240), (128, 304, 208)])
def test_tiles_equal_the_whole(flavour: str, tile_px: int, height: int, width: int) -> None:
    autoencoder, canvas = toy_wan.light_autoencoder(flavour), clip(5, height, width)
    latents = latents_of(autoencoder, canvas)
    whole = decoded(autoencoder, latents, canvas)[0]
    tiled = decode_tiled(autoencoder, latents[0], canvas[0], tile_px, **toy.KNOWN)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_halo_is_no_larger_than_needed(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cell less, tiles no longer equal the whole."""
    autoencoder, canvas, cell = toy_wan.light_autoencoder(flavour), clip(5, 208, 240), toy_wan.CELL_PX[flavour]
    latents = latents_of(autoencoder, canvas)
    monkeypatch.setattr(LightAutoencoder, "decoder_halo_px", autoencoder.decoder_halo_px - cell)
    tiled = decode_tiled(autoencoder, latents[0], canvas[0], 48, **toy.KNOWN)
    assert (tiled - decoded(autoencoder, latents, canvas)[0]).abs().max() > 1e-5


@pytest.mark.parametrize("shape", [(4, 32, 32), (5, 36, 32), (5, 32, 36)])
def test_refuses_other_frame_counts_and_sides(flavour: str, shape: tuple[int, int, int]) -> None:
    autoencoder = toy_wan.light_autoencoder(flavour)
    for use in (autoencoder.decode, lambda *clips, **known: autoencoder.decode_next(*clips, None, **known)):
        with pytest.raises(ValueError, match="needed: 4k\\+1 frames"):
            use(None, clip(*shape), **toy.KNOWN_OF_CLIPS)


def test_a_decoder_of_another_base_is_refused(flavour: str) -> None:
    (other,) = toy_wan.FLAVOURS.keys() - {flavour}
    with pytest.raises(ModelError, match=f"in cells of {toy_wan.CELL_PX[other]} pixels, the base's have 4 and"):
        LightAutoencoder.of(toy_wan.autoencoder(flavour), toy_wan.light_decoder(other))


@torch.no_grad()
def test_saved_with_a_pipeline_and_loaded(flavour: str, tmp_path: Path) -> None:
    """As a base that was trained further is; each part also alone, as an adapter's decoder is."""
    autoencoder, canvas = toy_wan.light_autoencoder(flavour, std=0.02), clip(5, 64, 64)
    adapter = toy.transformer_of(autoencoder)
    PatchVSRPipeline(adapter, autoencoder, patch_px=64, patch_frames=9).save_pretrained(tmp_path / "pipeline")
    loaded = PatchVSRPipeline.from_pretrained(tmp_path / "pipeline").vae
    autoencoder.decoder.save_pretrained(tmp_path / "decoder")
    decoder = LightDecoder.from_pretrained(tmp_path / "decoder").eval()
    joined = LightAutoencoder.of(toy_wan.autoencoder(flavour), decoder)
    assert isinstance(loaded, LightAutoencoder) and isinstance(loaded.encoder, WanAutoencoder)
    latents = autoencoder.encode(canvas)
    for other in (loaded, joined):
        assert torch.equal(other.encode(canvas), latents)
        assert torch.equal(decoded(other, latents, canvas), decoded(autoencoder, latents, canvas))


@torch.no_grad()
def test_the_encoder_gets_tiles_no_larger_than_a_patch_while_decoding_takes_larger_ones(
    flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    autoencoder = toy_wan.light_autoencoder(flavour, std=0.02)
    adapter = toy.transformer_of(autoencoder)
    pipeline = PatchVSRPipeline(adapter, autoencoder, patch_px=64, patch_frames=5)
    pipeline.set_progress_bar_config(disable=True)
    sides: dict[str, set[int]] = {"encode": set(), "decode": set()}

    def seen(what: str, owner: object, name: str) -> None:
        work = getattr(owner, name)

        def recorded(*given: object, **known: object) -> object:
            sides[what] |= {max(value.shape[-2:]) for value in given if isinstance(value, Tensor) and value.ndim == 5}
            return work(*given, **known)

        monkeypatch.setattr(owner, name, recorded)

    seen("encode", autoencoder.encoder, "encode")
    seen("decode", autoencoder.decoder, "forward")
    output = pipeline(toy.video(5, 16, 96), num_inference_steps=1)
    assert output.state is not None and output.frames.shape == (5, 3, 64, 384)
    assert max(sides["encode"]) <= 64 + 2 * autoencoder.encoder_halo_px
    assert max(sides["decode"]) == 384
