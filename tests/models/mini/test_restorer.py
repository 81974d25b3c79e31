"""Test the feed-forward restorer: streamed == whole, tiled == whole, untrained == canvas, a still shot stands still."""

import pytest
import torch

from patchvsr.models.mini.restorer import EMBEDDING_CHANNELS, PreviousFrame, Restorer

KNOWN = {"restoration": torch.tensor([0.3]), "scale": torch.tensor([4.0])}


@pytest.fixture
def restorer():
    torch.manual_seed(0)
    restorer = Restorer(channels=8, num_blocks=4).eval()
    for parameter in restorer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return restorer


@pytest.fixture
def canvas():
    return torch.rand(1, 3, 7, 96, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_an_untrained_restorer_returns_the_canvas(canvas):
    restored, _ = Restorer(channels=8, num_blocks=4)(canvas, None, **KNOWN)
    assert torch.equal(restored, canvas)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(1,) * 7, (3, 1, 3)])
def test_streamed_equals_whole(restorer, canvas, lengths):
    whole, _ = restorer(canvas, None, **KNOWN)
    assert not torch.equal(whole, canvas)
    state, parts = None, []
    for part in canvas.split(lengths, dim=2):
        restored, state = restorer(part, state, **KNOWN)
        parts.append(restored)
    assert state.num_frames == 7
    assert torch.allclose(torch.cat(parts, dim=2), whole, atol=1e-6)


@torch.no_grad()
def test_the_halo_is_what_a_pixel_depends_on(restorer, canvas):
    halo, x = restorer.halo_px, 48
    whole, _ = restorer(canvas, None, **KNOWN)
    part, _ = restorer(canvas[..., : x + halo], None, **KNOWN)
    assert torch.allclose(part[..., :x], whole[..., :x], atol=1e-6)
    part, _ = restorer(canvas[..., : x + halo - 8], None, **KNOWN)
    assert not torch.allclose(part[..., :x], whole[..., :x], atol=1e-6)


@torch.no_grad()
def test_a_still_shot_does_not_drift(restorer, canvas):
    state, frames = None, []
    for _ in range(20):
        restored, state = restorer(canvas[:, :, :1], state, **KNOWN)
        frames.append(restored)
    assert all(torch.equal(frame, frames[0]) for frame in frames)


@torch.no_grad()
def test_a_gate_follows_the_previous_frame_where_it_agrees():
    previous, x = PreviousFrame(4), torch.randn(1, 4, 6, 6)
    previous.gate.weight.copy_(-100 * torch.eye(4)[:, :, None, None])
    previous.gate.bias.fill_(20.0)

    def mixed(past):
        return previous(x, torch.zeros(1, EMBEDDING_CHANNELS), 1, past)[0] - x

    near, far = x + 0.01, x + 10
    assert torch.allclose(mixed(near), previous.mix(near), atol=1e-6)
    assert torch.allclose(mixed(far), previous.mix(x), atol=1e-6)


def test_training_and_use_modulate_alike(restorer, canvas):
    """One clip folds the modulation into the weights, several apply it to the features."""
    known = {name: value.expand(2) for name, value in KNOWN.items()}
    one, _ = restorer(canvas, None, **KNOWN)
    two, _ = restorer(canvas.expand(2, -1, -1, -1, -1), None, **known)
    assert torch.allclose(one, two[:1], atol=1e-5)
    other, _ = restorer(canvas, None, restoration=torch.tensor([0.9]), scale=torch.tensor([4.0]))
    assert not torch.allclose(one, other, atol=1e-3)
