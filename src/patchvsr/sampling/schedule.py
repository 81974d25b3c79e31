"""The steps from noise (sigma 1) to video (sigma 0) of a rectified flow."""

import numpy as np
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from patchvsr.errors import SettingsError


def make_scheduler(num_inference_steps: int, *, shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    """An Euler scheduler with its timesteps (1000 sigma) set, for one run of `denoise`.

    `shift` > 1 spends more steps on high noise: sigma' = shift sigma / (1 + (shift - 1) sigma), Esser et
    al. 2024 (SD3), equation 23. The sigmas are given here because diffusers' default spacing ends at 0.001
    and takes the remaining step to 0 on top, so that one step out of four would do nothing.

    Raises:
        SettingsError: no steps, or a shift that is not positive.
    """
    if num_inference_steps < 1:
        raise SettingsError(f"{num_inference_steps} denoising steps: at least 1 is needed")
    if not 0 < shift < float("inf"):
        raise SettingsError(f"shift is {shift}: it must be greater than 0")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, num_inference_steps + 1)[:-1].tolist())
    return scheduler
