"""Test the autoencoder of the next bundled model: streamed == whole, tiled == whole, untrained == canvas, causal."""

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.geometry import cells_of
from patchvsr.models.mini.detail import BandEnergies
from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
from patchvsr.models.tiles import TiledDecoder, decode_tiled, encode_condition_tiled
from patchvsr.patches.grid import Area
from patchvsr.pixels.size import Size

CHANNELS = BandEnergies.count


@pytest.fixture
def autoencoder() -> ResidualAutoencoder:
    return toy.residual_autoencoder()


def clip(frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    return toy.video(frames, height, width, seed=seed).transpose(0, 1)[None] * 2 - 1


def encoded(autoencoder: ResidualAutoencoder, video: Tensor, canvas: Tensor) -> Tensor:
    with torch.no_grad():
        return autoencoder.encode(video, reference=canvas, **toy.KNOWN_OF_CLIPS)


def decoded(autoencoder: ResidualAutoencoder, latents: Tensor | None, canvas: Tensor) -> Tensor:
    with torch.no_grad():
        return autoencoder.decode(latents, canvas, **toy.KNOWN_OF_CLIPS)


@pytest.mark.parametrize("num_frames", [1, 5, 9])
def test_shapes(autoencoder: ResidualAutoencoder, num_frames: int) -> None:
    video, canvas = clip(num_frames, 40, 48), clip(num_frames, 40, 48, seed=1)
    cells = autoencoder.geometry.latent_shape(num_frames, 40, 48)
    assert cells == ((num_frames + 3) // 4, 5, 6)
    latents = encoded(autoencoder, video, canvas)
    assert isinstance(autoencoder, Autoencoder) and latents.shape == (1, CHANNELS, *cells)
    assert autoencoder.encode_condition(canvas).shape == (1, autoencoder.geometry.condition_channels, *cells)
    assert decoded(autoencoder, latents, canvas).shape == canvas.shape
    assert autoencoder.estimate_restoration(canvas, torch.tensor([4.0])).shape == (1,)


@pytest.mark.parametrize("shape", [(4, 32, 32), (5, 36, 32), (5, 32, 36)])
def test_refuses_other_frame_counts_and_sides(autoencoder: ResidualAutoencoder, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="needed: 4k\\+1 frames, sides that are multiples of 8"):
        encoded(autoencoder, clip(*shape), clip(*shape))
    with pytest.raises(ValueError, match="multiples of 8"):
        decoded(autoencoder, None, clip(*shape))


def test_untrained_returns_exactly_the_canvas() -> None:
    untrained, canvas = ResidualAutoencoder(), clip(5, 32, 32)
    assert torch.equal(decoded(untrained, None, canvas), canvas)
    assert torch.equal(decoded(untrained, encoded(untrained, canvas, canvas), canvas), canvas)


def test_without_latents_the_restorer_is_the_result(autoencoder: ResidualAutoencoder) -> None:
    canvas = clip(5, 32, 48)
    with torch.no_grad():
        restored, _ = autoencoder.restorer(canvas, None, **toy.KNOWN_OF_CLIPS)
    assert torch.equal(decoded(autoencoder, None, canvas), restored)
    detailed = decoded(autoencoder, toy.randn(1, CHANNELS, 2, 4, 6), canvas)
    assert (detailed - restored).abs().max() > 0.1


def test_other_numbers_of_latent_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="latent_channels is 4: 9 are needed, or 0"):
        ResidualAutoencoder(latent_channels=4)


def test_causal_in_time(autoencoder: ResidualAutoencoder) -> None:
    """A later frame changes nothing before it, an earlier one does: nine frames are three latent frames."""
    canvas = clip(9, 32, 32)
    changed = canvas.clone()
    changed[:, :, 5:] += 0.5
    latents, changed_latents = encoded(autoencoder, canvas, canvas), encoded(autoencoder, canvas, changed)
    assert torch.equal(latents[:, :, :2], changed_latents[:, :, :2])
    assert not torch.allclose(latents[:, :, 2], changed_latents[:, :, 2], atol=1e-3)
    output = decoded(autoencoder, latents, canvas)
    for other in (decoded(autoencoder, latents, changed), decoded(autoencoder, changed_latents, canvas)):
        assert torch.equal(output[:, :, :5], other[:, :, :5])
        assert (output - other)[:, :, 5].abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("pieces", [(1,) * 9, (1, 4, 4), (3, 3, 3), (2, 5, 2), (9,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [0, 1])
def test_frames_in_any_pieces_equal_the_whole_exactly(
    autoencoder: ResidualAutoencoder, pieces: tuple[int, ...], dtype: torch.dtype, steps: int
) -> None:
    autoencoder.to(dtype)
    canvas, known = clip(9, 48, 80), toy.KNOWN_OF_CLIPS
    latents, condition = encoded(autoencoder, canvas, canvas), autoencoder.encode_condition(canvas)
    whole = decoded(autoencoder, latents if steps else None, canvas)
    conditions, parts, encoder_state, decoder_state, done = [], [], None, None, 0
    for count in pieces:
        part, frames = canvas[:, :, done : done + count], range(done, done + count)
        made, encoder_state = autoencoder.encode_condition_next(part, encoder_state)
        conditions.append(made)
        cells = latents[:, :, cells_of(frames)] if steps else None
        made, decoder_state = autoencoder.decode_next(cells, part, decoder_state, **known)
        parts.append(made)
        done += count
    assert torch.equal(torch.cat(conditions, dim=2), condition)
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert (whole - canvas).std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("area", [None, (64, 160, 32, 176)], ids=["whole", "area"])
def test_other_tiles_from_frame_to_frame_change_nothing(autoencoder: ResidualAutoencoder, area: Area | None) -> None:
    canvas = clip(9, 208, 240)
    latents = toy.randn(CHANNELS, 3, 26, 30)
    whole = decode_tiled(autoencoder, latents, canvas[0], 1280, **toy.KNOWN, area=area)
    decoder = TiledDecoder(autoencoder, **toy.KNOWN, area=area)
    frames = [
        decoder.decode(latents[:, cells_of(range(number, number + 1))], canvas[0, :, number : number + 1], tile_px)
        for number, tile_px in enumerate([1280, 1280, 96, 96, 48, 1280, 48, 64, 1280])
    ]
    torch.testing.assert_close(torch.cat(frames, dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("tile_px", "height", "width"), [(48, 208, 240), (128, 304, 208)])
def test_tiles_equal_the_whole(autoencoder: ResidualAutoencoder, tile_px: int, height: int, width: int) -> None:
    canvas = clip(5, height, width)
    condition = autoencoder.encode_condition(canvas)
    tiled = encode_condition_tiled(autoencoder, canvas[0].unbind(1), Size.of(canvas), tile_px)
    torch.testing.assert_close(tiled, condition[0], rtol=0, atol=1e-5)
    latents = toy.randn(1, CHANNELS, 2, height // 8, width // 8)
    output = decoded(autoencoder, latents, canvas)
    tiled = decode_tiled(autoencoder, latents[0], canvas[0], tile_px, **toy.KNOWN)
    torch.testing.assert_close(tiled, output[0], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_halo_is_no_larger_than_needed(
    autoencoder: ResidualAutoencoder, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cell less, tiles no longer equal the whole."""
    halo = getattr(autoencoder, f"{part}_halo_px") - 8
    monkeypatch.setattr(ResidualAutoencoder, f"{part}_halo_px", halo)
    canvas, latents = clip(5, 208, 240), toy.randn(1, CHANNELS, 2, 26, 30)
    if part == "encoder":
        condition = autoencoder.encode_condition(canvas)[0]
        error = encode_condition_tiled(autoencoder, canvas[0].unbind(1), Size.of(canvas), 48) - condition
    else:
        tiled = decode_tiled(autoencoder, latents[0], canvas[0], 48, **toy.KNOWN)
        error = tiled - decoded(autoencoder, latents, canvas)[0]
    assert error.abs().max() > 1e-5
