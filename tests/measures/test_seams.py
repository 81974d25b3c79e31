"""The seam and join measures see what was put in, and nothing where nothing is."""

import pytest
import torch
from torch import Tensor

from patchvsr.errors import InputError
from patchvsr.evaluation.synthetic import flat_gradient
from patchvsr.measures.seams import SeamMeter, join_jump, seam_score
from patchvsr.pixels.size import Size


def quantised(frames: Tensor) -> Tensor:
    return (frames * 255).round() / 255


@pytest.fixture
def gradient() -> Tensor:
    return torch.stack(list(flat_gradient(Size(256, 160), 3)))


@pytest.fixture
def texture() -> Tensor:
    torch.manual_seed(0)
    return (0.5 + 0.03 * torch.randn(3, 3, 160, 256)).clamp(0, 1)


def with_step(frames: Tensor, line_x: int, levels: float) -> Tensor:
    stepped = frames.clone()
    stepped[..., line_x:] += levels / 255
    return stepped


def test_no_seam_on_a_gradient(gradient: Tensor):
    assert seam_score(gradient, [80], [128]) == pytest.approx(1.0, abs=0.01)
    assert seam_score(quantised(gradient), [80], [128]) == pytest.approx(1.0, abs=0.1)


def test_two_levels_on_a_gradient(gradient: Tensor):
    stepped = quantised(with_step(gradient, 128, levels=2))
    assert seam_score(stepped, [80], [128]) > 2
    assert seam_score(stepped, [80], [64]) == pytest.approx(1.0, abs=0.1)  # the line is elsewhere


def test_texture_alone_is_no_seam(texture: Tensor):
    assert seam_score(texture, [80], [128]) == pytest.approx(1.0, abs=0.06)


def test_strong_step_on_texture(texture: Tensor):
    assert seam_score(with_step(texture, 128, levels=12), [80], [128]) > 1.2


def test_perfectly_flat_is_one():
    assert seam_score(torch.full((1, 3, 160, 256), 0.5), [80], [128]) == 1.0


def test_horizontal_seam_is_named(gradient: Tensor):
    meter = SeamMeter()
    meter.update(with_step(gradient.transpose(2, 3), 80, levels=2).transpose(2, 3))
    scores = meter.scores([40, 80], [128])
    assert max(scores, key=scores.__getitem__) == "y=80"
    assert scores["y=40"] == pytest.approx(1.0, abs=0.05)


def test_pieces_equal_whole(texture: Tensor):
    whole, pieces = SeamMeter(), SeamMeter()
    whole.update(texture)
    pieces.update(texture[:1])
    pieces.update(texture[1:])
    assert pieces.scores([80], [128]) == pytest.approx(whole.scores([80], [128]))


@pytest.mark.parametrize("line", [0, 256])
def test_line_outside_is_refused(texture: Tensor, line: int):
    with pytest.raises(InputError, match="not inside"):
        seam_score(texture, [], [line])


def test_join_jump_sees_the_jump():
    clip = torch.stack(list(flat_gradient(Size(32, 32), 12, levels_per_px=2)))
    jumped = clip.clone()
    jumped[6:] += 3 / 255
    assert join_jump(clip, [6]) == pytest.approx([1.0], abs=0.02)
    at_join, elsewhere = join_jump(jumped, [6, 3])
    assert at_join > 2 and elsewhere == pytest.approx(1.0, abs=0.02)
    assert join_jump(torch.zeros(5, 3, 8, 8), [2]) == [1.0]


def test_join_jump_is_the_ratio_to_its_neighbours():
    levels = torch.tensor([0.0, 1.0, 2.0, 7.0, 8.0, 9.0])  # steps of 1, and one of 5 into frame 3
    clip = (levels / 255).view(6, 1, 1, 1).expand(6, 3, 8, 8)
    assert join_jump(clip, [3]) == pytest.approx([5.5 / 1.5])
    # At the start of a clip there are neighbours on one side only.
    assert join_jump(clip[2:], [1]) == pytest.approx([5.5 / 1.5])


@pytest.mark.parametrize("join", [0, 5])
def test_join_outside_is_refused(join: int):
    with pytest.raises(InputError, match="join"):
        join_jump(torch.zeros(5, 3, 8, 8), [join])
