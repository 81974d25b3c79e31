"""Steadiness along the motion of the original."""

from __future__ import annotations

import torch
import toy

from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.measures.meter import FrameTriple
from patchvsr.measures.temporal import FlickerMeter, WarpingMeter
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size


def measured(pred: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    meters = WarpingMeter(), FlickerMeter()
    for restored, original in zip(pred, target, strict=True):
        for meter in meters:
            meter.update(FrameTriple(restored, original, canvas=original))
    return {**meters[0].result(), **meters[1].result()}


def moving_photo(num_frames: int = 4) -> torch.Tensor:
    return torch.stack(list(camera_move(load_photo("astronaut"), Size(240, 160), num_frames)))


def test_motion_changes_frames_and_is_no_warping_error() -> None:
    clip = moving_photo()
    scores = measured(clip, clip)
    assert scores["change"] > 1 and scores["warping_error"] < 0.5 * scores["change"]


def test_noise_of_its_own_in_every_frame_is_a_warping_error() -> None:
    clip = moving_photo()
    noisy = clip + torch.randn(clip.shape, generator=toy.seeded()) * 8 / 255
    still = clip + torch.zeros_like(clip) + 8 / 255
    plain, worse, brighter = (measured(pred, clip)["warping_error"] for pred in (clip, noisy, still))
    assert worse > plain + 5
    assert abs(brighter - plain) < 1e-3  # what does not move with time is none


def test_blur_is_steadier_than_the_original() -> None:
    clip = moving_photo()
    blurred = resize_bicubic(resize_bicubic(clip, Size(60, 40)), Size(240, 160))
    assert measured(blurred, clip)["warping_error"] < measured(clip, clip)["warping_error"]


def test_what_leaves_the_picture_or_jumps_is_not_counted() -> None:
    clip = toy.video(2, 64, 64)  # no motion joins one frame of noise and another
    assert measured(clip, clip)["warping_error"] < measured(clip, clip)["change"]


def test_one_frame_has_no_score() -> None:
    assert measured(toy.video(1, 32, 32), toy.video(1, 32, 32)) == {}
