"""Noise belongs to the seed and the place."""

import torch

from patchvsr.sampling.noise import noise_frames

SHAPE = (4, 6, 10)


def test_chunks_get_the_noise_of_the_whole() -> None:
    whole = noise_frames(7, 0, 12, SHAPE)
    assert whole.shape == (4, 12, 6, 10) and whole.dtype == torch.float32
    for first, count in [(0, 5), (4, 5), (11, 1), (3, 9)]:
        assert torch.equal(noise_frames(7, first, count, SHAPE), whole[:, first : first + count])
    assert noise_frames(7, 5, 0, SHAPE).shape == (4, 0, 6, 10)


def test_neither_frames_nor_seeds_repeat() -> None:
    """Seed + frame as the generator's seed would fail here."""
    frames = [frame for seed in range(20) for frame in noise_frames(seed, 0, 20, (1, 2, 8)).unbind(1)]
    assert len({tuple(frame.flatten().tolist()) for frame in frames}) == 400


def test_still_noise_is_that_of_the_first_frame_everywhere() -> None:
    first = noise_frames(7, 0, 1, SHAPE)
    assert torch.equal(noise_frames(7, 3, 4, SHAPE, still=True), first.repeat(1, 4, 1, 1))


def test_noise_is_standard_normal() -> None:
    noise = noise_frames(0, 1000, 16, (8, 32, 32))
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    flat = noise.transpose(0, 1).flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(16)).abs().max() < 0.06


def test_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    noise_frames(1, 0, 2, SHAPE)
    assert torch.equal(torch.rand(3), expected)


def test_golden_values() -> None:
    """A changed seed recipe would silently change every video: stop here first."""
    noise = noise_frames(42, 3, 2, (2, 4, 4))
    torch.testing.assert_close(
        torch.stack([noise[0, 0, 0], noise[1, 1, 3]]),
        torch.tensor([[-0.0067, -0.2786, -0.6618, -1.0118], [-1.4916, 0.0775, 0.5075, 1.2233]]),
        atol=1e-4,
        rtol=0,
    )
