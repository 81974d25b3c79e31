"""Set the sigma schedule of a rectified flow, from noise (sigma 1) to video (sigma 0)."""

from typing import TypeAlias

import numpy as np
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from patchvsr.errors import SettingsError

Scheduler: TypeAlias = FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler


def replaced(scheduler: Scheduler, name: str) -> Scheduler:
    """Return the scheduler `name` ("euler" or "unipc") with the shift of another one."""
    if name == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=shift_of(scheduler))
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift_of(scheduler)
    )


def shift_of(scheduler: Scheduler) -> float:
    return scheduler.config.flow_shift if isinstance(scheduler, UniPCMultistepScheduler) else scheduler.config.shift


def set_steps(scheduler: Scheduler, num_inference_steps: int, start: float = 1.0) -> Scheduler:
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
    shift = shift_of(scheduler)
    if not 0 < shift < float("inf"):
        raise SettingsError(f"the scheduler's shift is {shift}: it must be greater than 0")
    unshifted = start / (shift - (shift - 1) * start)
    scheduler.set_timesteps(sigmas=np.linspace(unshifted, 0, num_inference_steps + 1)[:-1])
    if isinstance(scheduler, UniPCMultistepScheduler):  # it rounds them down: the model would be told 899 for 900
        scheduler.timesteps = scheduler.sigmas[:-1] * scheduler.config.num_train_timesteps
    return scheduler
