"""Colours come back from the input, detail stays the model's own."""

from __future__ import annotations

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.color_match import match_color_
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

LEVEL = 2 / 255  # of 8 bits, in [-1, 1]
HEIGHT, WIDTH, INPUT_SIZE = 256, 384, Size(96, 64)


def picture(num_frames: int = 1, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """(3, F, H, W): a smooth canvas away from black and white, another in each frame."""
    y, x, t = torch.meshgrid(torch.arange(height), torch.arange(width), torch.arange(num_frames), indexing="ij")
    waves = [torch.sin(x / 40 + t), torch.cos(y / 50 + t), torch.sin((x + y) / 60 - t)]
    return torch.stack(waves).permute(0, 3, 1, 2) * 0.5


def texture() -> Tensor:
    """(H, W): fine luma detail of 10 levels, with a period of 5 pixels."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return 10 * LEVEL * torch.sin(x * 2 * torch.pi / 5) * torch.cos(y * 2 * torch.pi / 5)


def tint() -> Tensor:
    return torch.tensor([6 * LEVEL, 0, 0]).view(3, 1, 1, 1)


def drift() -> Tensor:
    """Up to 6 levels, from blue on the left to red on the right."""
    ramp = torch.linspace(-6, 6, WIDTH) * LEVEL
    return torch.stack([ramp, torch.zeros(WIDTH), -ramp]).view(3, 1, 1, WIDTH)


def brightness_step() -> Tensor:
    """Half of the frame is 4 levels brighter."""
    return 4 * LEVEL * (torch.arange(WIDTH) >= WIDTH // 2).float()


def levels(difference: Tensor) -> Tensor:
    return difference.abs() / LEVEL


def mean_error(frames: Tensor, canvas: Tensor) -> float:
    """Of the channel that is farthest off, in [0, 1]."""
    return float((frames - canvas).mean((0, 2, 3)).abs().max())


@pytest.mark.parametrize("size", [(256, 384), (67, 119), (1, 100), (1, 1)])
def test_video_equal_to_its_canvas_stays_as_it_is(size: tuple[int, int]) -> None:
    canvas = picture(2, *size)
    assert torch.equal(match_color_(canvas.clone(), canvas, Size(29, 17)), canvas)


def test_tint_goes_and_luma_texture_stays() -> None:
    canvas = picture()
    matched = match_color_(canvas + texture() + tint(), canvas, INPUT_SIZE)
    assert levels(matched - canvas - texture()).max() < 0.01  # of 6 levels of tint and 10 of texture


def test_drift_goes_and_luma_texture_stays_without_a_seam_at_the_borders() -> None:
    canvas = picture()
    left = match_color_(canvas + texture() + drift(), canvas, INPUT_SIZE) - canvas - texture()
    assert levels(left[..., 40:-40]).max() < 0.02  # of 6 levels
    assert levels(left).max() < 0.4
    assert levels(left.diff(dim=-1)).max() < 0.05  # from one pixel to the next; the drift itself has 0.03


def test_step_of_brightness_shrinks_to_its_edge() -> None:
    canvas = picture()
    left = levels(match_color_(canvas + brightness_step(), canvas, INPUT_SIZE) - canvas)
    distance = (torch.arange(WIDTH) - WIDTH // 2).abs()
    assert left[..., distance > 64].max() < 0.1  # of 4 levels
    assert left[..., distance > 32].max() < 0.6


def test_chroma_follows_closer_than_luma() -> None:
    canvas = picture()
    stripes = 4 * LEVEL * torch.sin(torch.arange(WIDTH) * 2 * torch.pi / 96)  # a period of 24 input pixels
    grey = match_color_(canvas + stripes, canvas, INPUT_SIZE) - canvas
    opposite = torch.tensor([0.7152, -0.2126, 0]).view(3, 1, 1, 1)  # no BT.709 luma
    colour = match_color_(canvas + stripes * opposite, canvas, INPUT_SIZE) - canvas
    assert colour.norm() / (stripes * opposite).expand_as(colour).norm() < 0.3
    assert grey.norm() / stripes.expand_as(grey).norm() > 0.6


def test_frames_do_not_see_each_other() -> None:
    canvas = picture(3)
    video = canvas + tint() + drift() * torch.tensor([1.0, -1, 0.5]).view(1, 3, 1, 1)
    together = match_color_(video.clone(), canvas, INPUT_SIZE)
    for index in range(3):
        frame = slice(index, index + 1)
        assert torch.equal(match_color_(video[:, frame].clone(), canvas[:, frame], INPUT_SIZE), together[:, frame])


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    canvas = picture()
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(match_color_(canvas + texture() + drift(), canvas, INPUT_SIZE))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_works_in_place_on_a_part_of_a_larger_video() -> None:
    padded, canvas = picture(3, 80, 96), picture(3, 80, 96)
    shown = (slice(None), slice(0, 2), slice(0, 67), slice(0, 91))
    padded += tint()
    before = padded.clone()
    match_color_(padded[shown], canvas[shown], Size(23, 17))
    assert levels(padded[shown] - canvas[shown]).max() < 0.01
    padded[shown] = before[shown]
    assert torch.equal(padded, before)


# --- in the pipeline ----------------------------------------------------------------------------------------


def brightening() -> PatchVSRPipeline:
    """A model that makes everything brighter, by six levels."""
    pipeline = toy.pipeline()
    with torch.no_grad():
        pipeline.vae.restorer.head.bias.fill_(6 * LEVEL)
    return pipeline


@pytest.mark.parametrize(
    ("num_frames", "size"),
    [(5, (96, 64)), (2, (119, 67)), (1, (30, 20)), (1, (13, 40))],
    ids=["x4", "odd", "one frame", "smaller than the input"],
)
def test_pipeline_matches_by_default_and_leaves_it_when_told(num_frames: int, size: tuple[int, int]) -> None:
    pipeline, video = brightening(), toy.video(num_frames, 16, 24)
    unmatched = pipeline(video, size=size, color_match=False).frames
    canvas = resize_bicubic(video, Size(size[0], size[1]))
    expected = match_color_((unmatched * 2 - 1).transpose(0, 1), (canvas * 2 - 1).transpose(0, 1), Size(24, 16))
    frames = pipeline(video, size=size).frames
    torch.testing.assert_close(frames, (expected.transpose(0, 1) + 1) / 2, rtol=0, atol=1e-5)
    assert mean_error(frames, canvas) < 0.003
    assert mean_error(unmatched, canvas) > 0.01


def test_model_in_bfloat16() -> None:
    frames = brightening().to(torch.bfloat16)(toy.video(1, 16, 24)).frames
    assert frames.dtype == torch.float32
    assert mean_error(frames, resize_bicubic(toy.video(1, 16, 24), Size(96, 64))) < 0.003
