"""Set the sigma schedule of a rectified flow, from noise (sigma 1) to video (sigma 0)."""

import numpy as np
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from patchvsr.errors import SettingsError


def set_steps(
    scheduler: FlowMatchEulerDiscreteScheduler, num_inference_steps: int, start: float = 1.0
) -> FlowMatchEulerDiscreteScheduler:
    """Set the timesteps (1000 sigma) of a scheduler for one run of `denoise`, and return it.

    A `shift` s > 1 spends more steps at high noise: sigma' = s sigma / (1 + (s - 1) sigma), Esser et al. 2024 (SD3),
    equation 23. The sigmas are set explicitly because diffusers' default spacing ends at 0.001 and then steps to 0,
    so one step out of four would do nothing.

    start: sigma of the first step, after the shift.

    Raises:
        SettingsError: fewer than 1 step, or a shift that is not positive and finite.
    """
    if num_inference_steps < 1:
        raise SettingsError(f"{num_inference_steps} denoising steps: at least 1 is needed")
    if not 0 < scheduler.config.shift < float("inf"):
        raise SettingsError(f"the scheduler's shift is {scheduler.config.shift}: it must be greater than 0")
    shift = scheduler.config.shift
    unshifted = start / (shift - (shift - 1) * start)
    scheduler.set_timesteps(sigmas=np.linspace(unshifted, 0, num_inference_steps + 1)[:-1].tolist())
    return scheduler
