"""The bundled autoencoder: bicubic before training, causal in time, and equal in tiles and as a whole."""

from __future__ import annotations

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.models.autoencoder import Autoencoder
from patchvsr.models.geometry import cells_of
from patchvsr.models.mini.autoencoder import MiniAutoencoder
from patchvsr.models.mini.blocks import CausalTemporalMix
from patchvsr.models.tiles import TiledDecoder, decode_tiled, encode_condition_tiled, tiles
from patchvsr.patches.grid import Area
from patchvsr.pixels.size import Size


@pytest.fixture
def autoencoder() -> MiniAutoencoder:
    """Every weight random and large enough for a missing pixel at the edge of the halo to show."""
    return toy.randomised(toy.autoencoder(), std=0.1).requires_grad_(False)


def clip(num_frames: int, height: int, width: int) -> Tensor:
    """(1, 3, F, H, W) in [-1, 1]."""
    return toy.video(num_frames, height, width).transpose(0, 1).unsqueeze(0) * 2 - 1


def decoded(autoencoder: MiniAutoencoder, latents: Tensor, reference: Tensor) -> Tensor:
    return autoencoder.decode(latents, reference, **toy.KNOWN_OF_CLIPS)


@pytest.mark.parametrize("num_frames", [1, 5, 9])
def test_shapes(autoencoder: MiniAutoencoder, num_frames: int) -> None:
    video, latent_frames = clip(num_frames, 48, 80), (num_frames - 1) // 4 + 1
    latents = autoencoder.encode(video)
    assert latents.shape == (1, toy.LATENT_CHANNELS, latent_frames, 3, 5)
    assert autoencoder.encode_condition(video).shape == (
        1,
        autoencoder.geometry.condition_channels,
        latent_frames,
        3,
        5,
    )
    assert decoded(autoencoder, latents, video).shape == video.shape
    assert isinstance(autoencoder, Autoencoder)
    assert (autoencoder.geometry.latent_channels, autoencoder.geometry.condition_channels) == (
        toy.LATENT_CHANNELS,
        toy.CONDITION_CHANNELS,
    )


@pytest.mark.parametrize("shape", [(4, 32, 32), (2, 32, 32), (5, 40, 32), (5, 32, 40)])
def test_refuses_other_frame_counts_and_sides(autoencoder: MiniAutoencoder, shape: tuple[int, int, int]) -> None:
    num_frames, height, width = shape
    message = f"got {num_frames} frames of {width}x{height}; needed: 4k\\+1 frames"
    for use in (
        autoencoder.encode,
        autoencoder.encode_condition,
        lambda video: autoencoder.decode(torch.zeros(1), video, **toy.KNOWN_OF_CLIPS),
    ):
        with pytest.raises(ValueError, match=message):
            use(torch.zeros(1, 3, *shape))


def test_untrained_decoder_returns_exactly_the_reference() -> None:
    autoencoder, video = toy.autoencoder(), clip(5, 32, 48)
    assert torch.equal(decoded(autoencoder, torch.zeros(1, toy.LATENT_CHANNELS, 2, 2, 3), video), video)


def test_latents_have_a_root_mean_square_of_one(autoencoder: MiniAutoencoder) -> None:
    rms = autoencoder.encode(3 * clip(5, 32, 48)).square().mean(dim=1).sqrt()
    torch.testing.assert_close(rms, torch.ones_like(rms), rtol=0, atol=1e-3)


def test_latents_and_reference_both_reach_the_output(autoencoder: MiniAutoencoder) -> None:
    video, latents = clip(5, 32, 48), autoencoder.encode(clip(5, 32, 48))
    detail = decoded(autoencoder, latents, video) - video
    assert (decoded(autoencoder, torch.zeros_like(latents), video) - video - detail).abs().max() > 1e-2
    assert (decoded(autoencoder, latents, video.flip(-1)) - video.flip(-1) - detail).abs().max() > 1e-2


def test_decoder_is_told_of_the_input(autoencoder: MiniAutoencoder) -> None:
    """Each clip of a batch has its own restoration and scale, and both change what is decoded."""
    video = clip(5, 32, 48)
    latents = autoencoder.encode(video)
    cases = [(0.0, 4.0), (1.0, 4.0), (0.0, 2.0)]
    one_by_one = [
        autoencoder.decode(latents, video, restoration=torch.tensor([r]), scale=torch.tensor([s])) for r, s in cases
    ]
    restoration, scale = torch.tensor(cases).unbind(1)
    three = torch.Size([3, -1, -1, -1, -1])
    together = autoencoder.decode(latents.expand(three), video.expand(three), restoration=restoration, scale=scale)
    torch.testing.assert_close(together, torch.cat(one_by_one), rtol=0, atol=1e-5)
    assert all((other - one_by_one[0]).abs().max() > 1e-3 for other in one_by_one[1:])


def test_condition_shows_the_canvas_at_a_quarter_of_its_size(autoencoder: MiniAutoencoder) -> None:
    video = clip(5, 32, 48)
    condition = autoencoder.encode_condition(video)
    assert torch.equal(condition[:, : toy.LATENT_CHANNELS], autoencoder.encode(video))
    shown = condition[:, toy.LATENT_CHANNELS :].unflatten(1, (4, 3, 4, 4))  # frame, colour, row, column
    for frame, (cell, place) in enumerate([(0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]):
        small = shown[0, place, :, :, :, cell].permute(0, 3, 1, 4, 2).reshape(3, 8, 12)
        expected = torch.nn.functional.avg_pool2d(video[0, :, frame], 4)
        torch.testing.assert_close(small, expected)


def test_causal_in_time(autoencoder: MiniAutoencoder) -> None:
    """A later frame changes nothing before it, an earlier one does: nine frames are three latent cells."""
    video = clip(9, 32, 32)
    changed = video.clone()
    changed[:, :, 5:] += 0.5
    latents, changed_latents = autoencoder.encode(video), autoencoder.encode(changed)
    assert torch.equal(latents[:, :, :2], changed_latents[:, :, :2])
    assert not torch.allclose(latents[:, :, 2], changed_latents[:, :, 2], atol=1e-3)

    output = decoded(autoencoder, latents, video)
    by_reference = decoded(autoencoder, latents, changed)
    by_latents = decoded(autoencoder, changed_latents, video)
    for other in (by_reference, by_latents):
        assert torch.equal(output[:, :, :5], other[:, :, :5])
        assert (output - other)[:, :, 5].abs().max() > 1e-3

    changed = video.clone()
    changed[:, :, 4] += 0.5
    difference = (decoded(autoencoder, latents, changed) - output).abs().amax(dim=(0, 1, 3, 4))
    assert difference[:4].max() == 0 and difference[4:7].min() > 1e-5  # one mix looks two frames back


PIECES = [(1,) * 9, (1, 4, 4), (3, 3, 3), (2, 5, 2), (9,)]


@torch.no_grad()
@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_frames_in_any_pieces_equal_the_whole_exactly(
    autoencoder: MiniAutoencoder, pieces: tuple[int, ...], dtype: torch.dtype
) -> None:
    autoencoder.to(dtype)
    video = torch.cat([clip(9, 48, 80), clip(9, 48, 80).flip(-1)])
    known = {name: value.expand(2) for name, value in toy.KNOWN_OF_CLIPS.items()}
    latents, condition = autoencoder.encode(video), autoencoder.encode_condition(video)
    whole = autoencoder.decode(latents, video, **known)
    encoded, decoded, encoder_state, decoder_state, done = [], [], None, None, 0
    for count in pieces:
        frames = range(done, done + count)
        part = video[:, :, done : done + count]
        made, encoder_state = autoencoder.encode_condition_next(part, encoder_state)
        encoded.append(made)
        made, decoder_state = autoencoder.decode_next(latents[:, :, cells_of(frames)], part, decoder_state, **known)
        decoded.append(made)
        done += count
    assert torch.equal(torch.cat(encoded, dim=2), condition)
    assert torch.equal(torch.cat(decoded, dim=2), whole)
    assert (whole - video).std() > 0.1  # the decoder has something to add


@torch.no_grad()
@pytest.mark.parametrize("area", [None, (64, 160, 32, 176)], ids=["whole", "area"])
def test_other_tiles_from_frame_to_frame_change_nothing(autoencoder: MiniAutoencoder, area: Area | None) -> None:
    canvas = clip(9, 208, 240)
    latents = autoencoder.encode(canvas)
    whole = decode_tiled(autoencoder, latents[0], canvas[0], 1280, **toy.KNOWN, area=area)
    decoder = TiledDecoder(autoencoder, **toy.KNOWN, area=area)
    sizes = [1280, 1280, 96, 96, 48, 1280, 48, 64, 1280]
    frames = [
        decoder.decode(latents[0][:, cells_of(range(number, number + 1))], canvas[0, :, number : number + 1], tile_px)
        for number, tile_px in enumerate(sizes)
    ]
    torch.testing.assert_close(torch.cat(frames, dim=1), whole, rtol=0, atol=1e-5)


# Tiles of these sizes have inner borders, in one direction or both, that the canvas's edge does not hide.
TILES = [(16, 208, 240), (48, 208, 240), (128, 304, 208), (1280, 208, 240)]


@pytest.mark.parametrize(("tile_px", "height", "width"), TILES)
def test_tiles_cover_the_canvas_once_and_stay_within_their_size(tile_px: int, height: int, width: int) -> None:
    covered = torch.zeros(height, width)
    for tile in tiles(height, width, tile_px + 8, 32, 16):  # eight pixels are no cell
        y0, y1, x0, x1 = tile.inner
        assert y1 - y0 <= tile_px and x1 - x0 <= tile_px
        assert tile.outer == (max(0, y0 - 32), min(height, y1 + 32), max(0, x0 - 32), min(width, x1 + 32))
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("tile_px", "height", "width"), TILES)
def test_tiles_equal_the_whole(autoencoder: MiniAutoencoder, tile_px: int, height: int, width: int) -> None:
    canvas = clip(5, height, width)
    condition = autoencoder.encode_condition(canvas)
    tiled = encode_condition_tiled(autoencoder, canvas[0].unbind(1), Size.of(canvas), tile_px)
    torch.testing.assert_close(tiled, condition[0], rtol=0, atol=1e-5)

    latents = condition[:, : toy.LATENT_CHANNELS]
    output = decoded(autoencoder, latents, canvas)
    tiled = decode_tiled(autoencoder, latents[0], canvas[0], tile_px, **toy.KNOWN)
    assert (output - canvas).std() > 0.1  # the decoder has something to add
    torch.testing.assert_close(tiled, output[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("tile_px", [48, 128])
def test_tiles_equal_the_whole_with_a_deep_context(tile_px: int) -> None:
    """The context's view is then the widest, and not in whole cells of the trunk."""
    autoencoder, canvas = toy.randomised(toy.autoencoder(num_context_blocks=4), std=0.2), clip(5, 304, 336)
    latents = torch.zeros(1, toy.LATENT_CHANNELS, 2, 19, 21)
    with torch.no_grad():
        tiled = decode_tiled(autoencoder, latents[0], canvas[0], tile_px, **toy.KNOWN)
        torch.testing.assert_close(tiled, decoded(autoencoder, latents, canvas)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_halo_is_no_larger_than_needed(
    autoencoder: MiniAutoencoder, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one cell less, tiles no longer equal the whole."""
    halo = getattr(autoencoder, f"{part}_halo_px") - 16
    monkeypatch.setattr(MiniAutoencoder, f"{part}_halo_px", halo)
    canvas = clip(5, 208, 240)
    condition = autoencoder.encode_condition(canvas)
    latents = condition[:, : toy.LATENT_CHANNELS]
    if part == "encoder":
        error = encode_condition_tiled(autoencoder, canvas[0].unbind(1), Size.of(canvas), 48) - condition[0]
    else:
        error = (
            decode_tiled(autoencoder, latents[0], canvas[0], 48, **toy.KNOWN) - decoded(autoencoder, latents, canvas)[0]
        )
    assert error.abs().max() > 1e-4


def test_bfloat16(autoencoder: MiniAutoencoder) -> None:
    video = clip(5, 32, 48)
    latents, output = autoencoder.encode(video), decoded(autoencoder, autoencoder.encode(video), video)
    autoencoder.bfloat16()
    rough = autoencoder.encode(video)
    assert rough.dtype == torch.bfloat16
    assert (rough - latents).abs().max() < 0.1
    restored = decoded(autoencoder, rough, video)
    assert restored.dtype == video.dtype
    assert (restored - output).abs().max() < 0.1


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("with_past", [False, True])
def test_temporal_mix_is_the_same_in_training(num_frames, with_past):
    """In training it is one convolution over time, else three convolutions."""
    mix, x = CausalTemporalMix(8), torch.randn(2 * num_frames, 8, 6, 4)
    past = (torch.randn(2, 8, 6, 4), torch.randn(2, 8, 6, 4)) if with_past else None
    trained, trained_past = mix(x, num_frames, past)
    with torch.no_grad():
        mixed, handed_on = mix(x, num_frames, past)
    torch.testing.assert_close(trained, mixed)
    assert all(map(torch.equal, trained_past, handed_on))
