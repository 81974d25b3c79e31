"""Compression in memory: the same frames come back, where they were, worse the fewer bits there are."""

from __future__ import annotations

import numpy as np
import pytest

from patchvsr.degradation.codec_pass import codec_pass, jpeg_pass, parse_codecs
from patchvsr.errors import SettingsError

CODECS = ["h264", "mpeg4", "hevc"]


def scene(num_frames: int, height: int, width: int) -> np.ndarray:
    """Moving coloured waves with a little grain, (F, H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(0)
    frames = [
        np.stack([np.sin((x + t) / 4) * np.cos(y / 6), np.sin((x + y) / 9), np.cos((x - y + 2 * t) / 7)], -1)
        for t in range(num_frames)
    ]
    return np.clip(127 + 90 * np.stack(frames) + rng.normal(0, 4, (num_frames, height, width, 3)), 0, 255).astype("u1")


def error(decoded: np.ndarray, frames: np.ndarray) -> float:
    return float(np.abs(decoded.astype(float) - frames).mean())


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(5, 64, 80), (1, 48, 48), (2, 7, 5), (17, 33, 1), (3, 101, 67)])
def test_any_size_and_number_of_frames_comes_back(codec: str, shape: tuple[int, int, int]) -> None:
    frames = scene(*shape)
    decoded = codec_pass(frames, codec, 4.0)
    assert decoded.shape == frames.shape and decoded.dtype == np.uint8


@pytest.mark.parametrize("codec", CODECS)
def test_same_bytes_again(codec: str) -> None:
    frames = scene(6, 72, 96)
    assert np.array_equal(codec_pass(frames, codec, 0.4), codec_pass(frames, codec, 0.4))


@pytest.mark.parametrize("codec", CODECS)
def test_fewer_bits_lose_more_and_the_order_of_frames_stays(codec: str) -> None:
    frames = scene(8, 96, 128)
    errors = [error(codec_pass(frames, codec, bits), frames) for bits in (8.0, 1.0, 0.1)]
    assert errors == sorted(errors) and errors[0] < 8 and errors[2] > 1.3 * errors[0]
    decoded = codec_pass(frames, codec, 2.0)
    for index in range(7):
        assert error(decoded[index], frames[index]) < error(decoded[index], frames[index + 1])


@pytest.mark.parametrize("codec", CODECS)
def test_no_grey_frames_when_bits_are_few(codec: str) -> None:
    """The failure of a full rate buffer: a frame that holds nothing."""
    frames = scene(9, 64, 64)
    decoded = codec_pass(frames, codec, 0.2)
    assert all(frame.std() > 0.3 * original.std() for frame, original in zip(decoded, frames, strict=True))


def red_and_blue(size: int) -> np.ndarray:
    """A soft edge from red to blue in the middle: chroma changes, luma hardly."""
    ramp = np.clip((np.arange(size) - (size - 1) / 2) / 12, -1, 1) / 2
    row = np.stack([180 - 140 * (ramp + 0.5), np.full(size, 60.0), 40 + 200 * (ramp + 0.5)], -1)
    return np.broadcast_to(row, (3, size, size, 3)).round().astype("u1")


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("codec", [*CODECS, "jpeg"])
def test_chroma_stays_where_it_was(codec: str, transpose: bool) -> None:
    frames = red_and_blue(64)
    if transpose:
        frames = np.ascontiguousarray(frames.transpose(0, 2, 1, 3))
    decoded = jpeg_pass(frames, [90] * 3) if codec == "jpeg" else codec_pass(frames, codec, 8.0)
    axis = 1 if transpose else 2
    for channel in (0, 2):
        slope = np.gradient(frames[..., channel].astype(float), axis=axis)
        moved = ((frames[..., channel].astype(float) - decoded[..., channel]) * slope).sum() / (slope**2).sum()
        assert abs(moved) < 0.1  # half a pixel is what a wrong siting costs
    assert error(decoded, frames) < 4


def test_jpeg_quality_is_of_each_frame() -> None:
    frames = scene(3, 50, 71)
    decoded = jpeg_pass(frames, [95, 60, 20])
    errors = [error(decoded[i], frames[i]) for i in range(3)]
    assert decoded.shape == frames.shape and errors == sorted(errors) and errors[2] > 2 * errors[0]


def test_codecs_are_named() -> None:
    assert parse_codecs("h264, mpeg4,h264") == ["h264", "mpeg4", "h264"]
    with pytest.raises(SettingsError, match="use h264, mpeg4, hevc"):
        parse_codecs("")
