"""Test the bundled autoencoder: streamed == whole, tiled == whole, untrained == canvas, causal."""

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
    """Every weight large enough for a missing pixel at the edge of the halo to show."""
    return toy.autoencoder(std=0.15)


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
    video = clip(*shape)
    for use in (
        lambda: encoded(autoencoder, video, video),
        lambda: autoencoder.encode_condition(video),
        lambda: decoded(autoencoder, None, video),
    ):
        with pytest.raises(ValueError, match="needed: 4k\\+1 frames, sides that are multiples of 8"):
            use()


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


def test_latents_and_canvas_both_reach_the_output(autoencoder: ResidualAutoencoder) -> None:
    canvas, latents = clip(5, 32, 48), toy.randn(1, CHANNELS, 2, 4, 6)
    detail = decoded(autoencoder, latents, canvas) - canvas
    assert (decoded(autoencoder, torch.zeros_like(latents), canvas) - canvas - detail).abs().max() > 1e-2
    assert (decoded(autoencoder, latents, canvas.flip(-1)) - canvas.flip(-1) - detail).abs().max() > 1e-2


@torch.no_grad()
def test_each_clip_of_a_batch_has_its_own_restoration_and_scale(autoencoder: ResidualAutoencoder) -> None:
    """And both change what is decoded."""
    canvas, latents = clip(5, 32, 48), toy.randn(1, CHANNELS, 2, 4, 6)
    cases = [(0.0, 4.0), (1.0, 4.0), (0.0, 2.0)]
    one_by_one = [
        autoencoder.decode(latents, canvas, restoration=torch.tensor([r]), scale=torch.tensor([s])) for r, s in cases
    ]
    restoration, scale = torch.tensor(cases).unbind(1)
    three = torch.Size([3, -1, -1, -1, -1])
    together = autoencoder.decode(latents.expand(three), canvas.expand(three), restoration=restoration, scale=scale)
    torch.testing.assert_close(together, torch.cat(one_by_one), rtol=0, atol=2e-5 * float(together.std()))
    assert all((other - one_by_one[0]).abs().max() > 1e-3 for other in one_by_one[1:])


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
    changed = canvas.clone()
    changed[:, :, 4] += 0.5
    difference = (decoded(autoencoder, latents, changed) - output).abs().amax(dim=(0, 1, 3, 4))
    assert difference[:4].max() == 0 and difference[4:7].min() > 1e-5


@torch.no_grad()
@pytest.mark.parametrize("pieces", [(1,) * 9, (1, 4, 4), (3, 3, 3), (2, 5, 2), (9,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [0, 1])
def test_frames_in_any_pieces_equal_the_whole_exactly(
    autoencoder: ResidualAutoencoder, pieces: tuple[int, ...], dtype: torch.dtype, steps: int
) -> None:
    autoencoder.to(dtype)
    canvas = torch.cat([clip(9, 48, 80), clip(9, 48, 80).flip(-1)])
    known = {name: value.expand(2) for name, value in toy.KNOWN_OF_CLIPS.items()}
    latents, condition = autoencoder.encode(canvas, reference=canvas, **known), autoencoder.encode_condition(canvas)
    whole = autoencoder.decode(latents if steps else None, canvas, **known)
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
@pytest.mark.parametrize(("tile_px", "height", "width"), [(48, 208, 240), (128, 304, 208), (1280, 208, 240)])
def test_tiles_equal_the_whole(autoencoder: ResidualAutoencoder, tile_px: int, height: int, width: int) -> None:
    canvas = clip(5, height, width)
    condition = autoencoder.encode_condition(canvas)
    tiled = encode_condition_tiled(autoencoder, canvas[0].unbind(1), Size.of(canvas), tile_px)
    torch.testing.assert_close(tiled, condition[0], rtol=0, atol=1e-5)
    latents = toy.randn(1, CHANNELS, 2, height // 8, width // 8)
    output = decoded(autoencoder, latents, canvas)
    tiled = decode_tiled(autoencoder, latents[0], canvas[0], tile_px, **toy.KNOWN)
    assert (output - canvas).std() > 0.1  # there is something to add
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


@torch.no_grad()
def test_bfloat16() -> None:
    autoencoder, canvas, latents = toy.pipeline().vae, clip(5, 32, 48), toy.randn(1, CHANNELS, 2, 4, 6)
    condition, output = autoencoder.encode_condition(canvas), decoded(autoencoder, latents, canvas)
    autoencoder.bfloat16()
    rough = autoencoder.encode_condition(canvas)
    assert rough.dtype == torch.bfloat16
    assert (rough - condition).abs().max() < 0.1
    restored = decoded(autoencoder, latents, canvas)
    assert restored.dtype == canvas.dtype
    assert (restored - output).abs().max() < 0.1
