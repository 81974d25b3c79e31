"""Joint denoising: many patches, one canvas, one scheduler (PatchVSR, multi-patch joint modulation).

The model only sees patches of the size it was trained for. At every step their velocities are merged into one velocity
of the whole canvas, and a single scheduler steps the canvas. Neighbouring patches are therefore reconciled at every
step, and multistep samplers (UniPC) keep one history for the canvas instead of one per patch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from patchvsr.patches.canvas import Canvas
from patchvsr.patches.grid import Box, WeightedBox
from patchvsr.sampling.coarse import low_frequencies
from patchvsr.sampling.parallel import ALONE, Alone

# (patches (N, C, t, h, w), timestep, their boxes) -> velocities (N, C, t, h, w), any float type and device
Velocity = Callable[[Tensor, float, Sequence[Box]], Tensor]


@torch.no_grad()
def denoise(
    velocity: Velocity,
    latents: Tensor,
    tilings: Callable[[int], Sequence[WeightedBox]],
    scheduler: Any,
    *,
    batch_size: int = 1,
    start: Tensor | None = None,
    known: Tensor | None = None,
    held: Tensor | None = None,
    on_step: Callable[[int, int, Tensor], Tensor | None] | None = None,
    devices: Alone = ALONE,
) -> Tensor:
    """Denoise a canvas patch by patch; the result does not depend on the order or batching of patches.

    Memory: the canvas, its int64 sums, the state of the scheduler, and `batch_size` patches.

    Args:
        velocity: model that predicts eps - z_0 for a batch of patches.
        latents: noise canvas (C, T, H, W), float32, on the CPU or a device; not modified.
        start: clean latents (C, T, H, W) to start from, noised to the level of the first step; None starts from noise.
        tilings: maps a step number to boxes with weights that sum to 1 at every cell.
        scheduler: a diffusers flow scheduler with timesteps set, not yet stepped.
        batch_size: patches per call of `velocity`.
        known: clean latents (C, Tk, H, W) of the first Tk frames, taken from the previous chunk. They are
            noised to the level of each step as context for the other frames, and returned unchanged.
        held: clean latents (C, T, H, W) whose low frequencies the estimate of every step has; None holds nothing.
        on_step: called after every step with (step, number of steps, latents); may return replacement latents.
        devices: that share the patches of every step, see `sampling.parallel`.

    Returns:
        Clean latents (C, T, H, W), float32.

    Raises:
        ValueError: latents, known, batch size or the model's output have an unexpected shape or value.
        FloatingPointError: the model predicted NaN or infinity; the message names step and box.
    """
    _check(latents, known, batch_size)
    noise = None if known is None else latents[:, : known.shape[1]].clone()
    num_steps = len(scheduler.timesteps)
    if start is not None:
        latents = _noised(start, latents, float(scheduler.sigmas[0]))

    for step, timestep in enumerate(scheduler.timesteps):
        # 1. Set known frames to this step's noise level, on the straight path from their noise to their clean latents.
        if known is not None:
            latents = _pin(latents, known, noise, float(scheduler.sigmas[step]))

        # 2. Merge the velocities of all patches into one for the canvas.
        canvas = Canvas(latents.shape, latents.device, stage=f"denoising step {step + 1} of {num_steps}")
        tiles = tilings(step)
        batches = [tiles[first : first + batch_size] for first in range(0, len(tiles), batch_size)]
        for batch in devices.share(batches):
            _predict(canvas, velocity, latents, float(timestep), batch)
        devices.add_up_(canvas.state)

        # 3. Step the whole canvas once.
        merged = _holding(canvas.result(), latents, held, float(scheduler.sigmas[step]))
        latents = scheduler.step(merged[None], timestep, latents[None], return_dict=False)[0][0]
        del merged
        if on_step is not None:
            replaced = on_step(step, num_steps, latents)
            latents = latents if replaced is None else replaced

    return latents if known is None else _pin(latents, known, noise, sigma=0.0)


def _predict(
    canvas: Canvas, velocity: Velocity, latents: Tensor, timestep: float, batch: Sequence[WeightedBox]
) -> None:
    """Add one batch of velocities to the canvas. A separate function, so that its tensors are freed on return."""
    boxes = [weighted.box for weighted in batch]
    patches = torch.stack([latents[box.slices] for box in boxes])  # (N, C, t, h, w)
    predicted = velocity(patches, timestep, boxes)
    if predicted.shape != patches.shape:
        raise ValueError(f"the model returned {tuple(predicted.shape)} for {tuple(patches.shape)}")
    for weighted, values in zip(batch, predicted, strict=True):
        canvas.add(weighted.box, weighted.weight(), values)


def _holding(velocity: Tensor, latents: Tensor, held: Tensor | None, sigma: float) -> Tensor:
    """Return the velocity whose estimate, latents - sigma velocity, has the low frequencies of `held`."""
    if held is None:
        return velocity
    estimate = latents - sigma * velocity
    return velocity + low_frequencies(estimate - held) / sigma


def _pin(latents: Tensor, known: Tensor, noise: Tensor | None, sigma: float) -> Tensor:
    """Return latents with the first frames set to (1 - sigma) known + sigma noise."""
    pinned = known if noise is None or sigma == 0 else _noised(known, noise, sigma)
    return torch.cat([pinned, latents[:, known.shape[1] :]], dim=1)


def _noised(clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
    return (1 - sigma) * clean + sigma * noise


def _check(latents: Tensor, known: Tensor | None, batch_size: int) -> None:
    if latents.ndim != 4 or latents.dtype != torch.float32:
        raise ValueError(f"latents must be (C, T, H, W) float32, got {tuple(latents.shape)} {latents.dtype}")
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}: at least 1 is needed")
    if known is None:
        return
    fits = known.ndim == 4 and known.shape[1] <= latents.shape[1] and known.dtype == latents.dtype
    if not fits or known[:, 0].shape != latents[:, 0].shape:
        raise ValueError(f"known {tuple(known.shape)} {known.dtype} does not begin latents {tuple(latents.shape)}")
