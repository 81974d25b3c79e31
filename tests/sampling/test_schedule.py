"""The schedule ends where it should, with every step doing its share."""

import pytest
import torch
import toy

from patchvsr.errors import SettingsError
from patchvsr.sampling.schedule import replaced, set_steps


@pytest.mark.parametrize(
    ("steps", "shift", "sigmas"),
    [
        (1, 1.0, [1, 0]),
        (1, 5.0, [1, 0]),
        (4, 1.0, [1, 0.75, 0.5, 0.25, 0]),
        (4, 3.0, [1, 0.9, 0.75, 0.5, 0]),
    ],
)
def test_sigmas(steps: int, shift: float, sigmas: list[float]) -> None:
    scheduler = toy.scheduler(steps, shift=shift)
    torch.testing.assert_close(scheduler.sigmas, torch.tensor(sigmas, dtype=torch.float32))
    torch.testing.assert_close(scheduler.timesteps, 1000 * scheduler.sigmas[:-1])
    assert scheduler.sigmas[0] == 1 and scheduler.sigmas[-1] == 0


def test_a_straight_flow_is_solved_in_any_number_of_steps() -> None:
    data, noise = torch.full((1, 8), 3.0), torch.arange(8.0)[None]
    for steps in (1, 4, 50):
        scheduler, latents = toy.scheduler(steps, shift=2.0), noise
        for timestep in scheduler.timesteps:
            latents = scheduler.step(noise - data, timestep, latents, return_dict=False)[0]
        torch.testing.assert_close(latents, data, atol=1e-5, rtol=0)


def test_unipc_follows_a_curved_flow_in_fewer_steps() -> None:
    """The flow of normally distributed data, whose velocity and path are known: noise z ends at deviation * z."""
    deviation, noise = 1.0, torch.linspace(-2, 2, 9)[None]

    def error(name: str, steps: int) -> float:
        scheduler, latents = set_steps(replaced(toy.scheduler(1), name), steps), noise
        for sigma, timestep in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
            variance = ((1 - sigma) * deviation) ** 2 + sigma**2
            velocity = latents * (sigma - (1 - sigma) * deviation**2) / variance
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return (latents - deviation * noise).abs().max().item()

    assert error("unipc", 8) < error("euler", 32) < error("euler", 8) / 3
    assert error("unipc", 2) == pytest.approx(error("euler", 2), rel=1e-3)
    assert error("unipc", 4) < error("euler", 4) / 2


@pytest.mark.parametrize(
    ("steps", "shift"), [(0, 1.0), (-1, 1.0), (4, 0.0), (4, -2.0), (4, float("nan")), (4, float("inf"))]
)
def test_refusals(steps: int, shift: float) -> None:
    with pytest.raises(SettingsError):
        toy.scheduler(steps, shift=shift)
