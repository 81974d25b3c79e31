"""Joint denoising: many patches, one canvas, one sampler (PatchVSR, multi-patch joint modulation).

The model only ever sees patches of the size it was trained for. At every step its velocities are merged to
one velocity of the whole canvas, and ONE scheduler steps the whole canvas, so neighbours meet again at
every step and samplers with a history (UniPC) keep one history instead of one per patch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from patchvsr.patches.canvas import Canvas
from patchvsr.patches.grid import Box, WeightedBox

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
    known: Tensor | None = None,
    reduce: Callable[[Tensor], object] | None = None,
    on_step: Callable[[int, int, Tensor], Tensor | None] | None = None,
) -> Tensor:
    """Denoise a canvas patch by patch; the result does not depend on the patches' order or batches.

    Besides the canvas this holds its int64 sums, what the scheduler keeps, and `batch_size` patches.

    Args:
        velocity: the model: predicts eps - z_0 for a batch of patches.
        latents: noise canvas (C, T, H, W), float32, on the host or a device; it is not changed.
        tilings: step number -> boxes with weights that sum to 1 at every cell.
        scheduler: a diffusers flow scheduler whose timesteps were set and which has not stepped yet.
        batch_size: patches per call of `velocity`.
        known: clean latents (C, Tk, H, W) of the first Tk frames, taken over from the chunk before. They
            are kept at each step's noise level as context for the others, and returned unchanged.
        reduce: sums the canvas state (one int64 tensor) over ranks in place, where `tilings` gives each
            rank its share.
        on_step: called after every step with (step, number of steps, latents); may return other latents.

    Returns:
        Clean latents (C, T, H, W), float32.

    Raises:
        ValueError: latents, known, batch size or the model's output do not fit.
        FloatingPointError: the model predicted NaN or infinity; step and box are named.
    """
    _check(latents, known, batch_size)
    noise = None if known is None else latents[:, : known.shape[1]].clone()
    num_steps = len(scheduler.timesteps)

    for step, timestep in enumerate(scheduler.timesteps):
        # 1. Frames that are known follow the straight path from their noise to their clean latents.
        if known is not None:
            latents = _pin(latents, known, noise, float(scheduler.sigmas[step]))

        # 2. One velocity for the whole canvas.
        canvas = Canvas(latents.shape, latents.device, stage=f"denoising step {step + 1} of {num_steps}")
        tiles = tilings(step)
        for first in range(0, len(tiles), batch_size):
            _predict(canvas, velocity, latents, float(timestep), tiles[first : first + batch_size])
        if reduce is not None:
            reduce(canvas.state)

        # 3. One step for the whole canvas.
        latents = scheduler.step(canvas.result()[None], timestep, latents[None], return_dict=False)[0][0]
        if on_step is not None:
            replaced = on_step(step, num_steps, latents)
            latents = latents if replaced is None else replaced

    return latents if known is None else _pin(latents, known, noise, sigma=0.0)


def _predict(
    canvas: Canvas, velocity: Velocity, latents: Tensor, timestep: float, batch: Sequence[WeightedBox]
) -> None:
    """Add one batch of velocities to the canvas; a function of its own so that its patches die with it."""
    boxes = [weighted.box for weighted in batch]
    patches = torch.stack([latents[box.slices] for box in boxes])  # (N, C, t, h, w)
    predicted = velocity(patches, timestep, boxes)
    if predicted.shape != patches.shape:
        raise ValueError(f"the model returned {tuple(predicted.shape)} for {tuple(patches.shape)}")
    for weighted, values in zip(batch, predicted, strict=True):
        canvas.add(weighted.box, weighted.weight(), values)


def _pin(latents: Tensor, known: Tensor, noise: Tensor | None, sigma: float) -> Tensor:
    """Latents whose first frames are (1 - sigma) known + sigma noise."""
    pinned = known if noise is None or sigma == 0 else (1 - sigma) * known + sigma * noise
    return torch.cat([pinned, latents[:, known.shape[1] :]], dim=1)


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
