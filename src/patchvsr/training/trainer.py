"""Training loop shared by all stages. Running the same command again resumes from the last checkpoint.

All randomness is in the samples, which are seeded by their position in the run, so a resumed run takes the same steps
as an uninterrupted one. accelerate handles several devices, and sharding over them (FSDP2): use `accelerate launch`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset

from patchvsr.allocator import keep_freed_memory
from patchvsr.compute import default_dtype, device_kind, limit_threads
from patchvsr.errors import SettingsError
from patchvsr.interrupts import two_step_interrupts
from patchvsr.training.checkpoint import TrainingState, trained_parameters
from patchvsr.training.logs import RunLog
from patchvsr.training.recipes import Recipe, save_recipe
from patchvsr.training.samples import Sample, batches
from patchvsr.training.stages import Stage

if TYPE_CHECKING:  # its packages are an extra
    from patchvsr.training.validation import Validator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainEvent:
    """Report of the loop, every `log_every` steps. Losses and norm are those of the last step; times are means."""

    step: int
    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float
    seconds_per_step: float
    samples_per_second: float
    waited_share: float  # share of the time spent waiting for samples


@dataclass(frozen=True)
class ValidationEvent:
    """Validation scores of the averaged weights, by method."""

    step: int
    validation: dict[str, dict[str, float]]


def train(
    recipe: Recipe,
    stage: Stage,
    samples: Dataset[Sample],
    *,
    data_digest: str,
    validator: Validator | None = None,
    minutes: float | None = None,
) -> Iterator[TrainEvent | ValidationEvent]:
    """Train `stage` in place and yield an event per log line. The stage ends with its averaged weights.

    minutes: stop after this time and write a checkpoint to resume from.

    Raises FloatingPointError, naming stage and step, if a loss or gradient is not finite, SettingsError if another
    process trains in the same folder, and KeyboardInterrupt on Ctrl-C or SIGTERM, after the current step is finished
    and saved.
    """
    keep_freed_memory()
    limit_threads()
    torch.set_flush_denormal(True)  # seven times faster while weights of zero-initialised layers are tiny
    run = recipe.run
    run.mkdir(parents=True, exist_ok=True)
    # Set `cpu` explicitly: accelerate cannot detect multi-process CPU otherwise. The recipe alone sets the precision.
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    alone: AbstractContextManager[object] = nullcontext()
    if accelerator.is_main_process:
        alone = _locked(run)
        _warn_of_slow_bf16(recipe, accelerator.device)
    optimizer = torch.optim.AdamW(
        trained_parameters(stage).values(), lr=0.0, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    model, wrapped_optimizer = accelerator.prepare(stage, optimizer)
    state = TrainingState(recipe, accelerator.unwrap_model(model), wrapped_optimizer.optimizer, data_digest)
    state.load(run)
    players = accelerator.unwrap_model(model).players()
    if accelerator.is_main_process:
        save_recipe(recipe, run / "recipe.json")
    loader = batches(samples, recipe, state.step, accelerator.process_index, accelerator.num_processes)
    log_lines = RunLog(run, step=state.step) if accelerator.is_main_process else nullcontext()
    deadline = time.monotonic() + minutes * 60 if minutes is not None else math.inf
    clock = Clock(recipe.batch_size * recipe.accumulate * accelerator.num_processes)

    with alone, two_step_interrupts(sigterm_waits=True) as stop, log_lines as log:
        while state.step < recipe.steps:
            # 1. gradients
            rate = learning_rate(recipe, state.step)
            for group in wrapped_optimizer.param_groups:
                group["lr"] = rate
            losses: dict[str, Tensor] = {}
            for part in range(recipe.accumulate):
                with clock.waiting():
                    sample = next(loader)
                # A blocking copy would wait for the previous batch on the device and be counted as waiting for samples.
                batch = {n: v.to(accelerator.device, non_blocking=v.is_pinned()) for n, v in sample.items()}
                last = part == recipe.accumulate - 1
                with nullcontext() if last else accelerator.no_sync(model):
                    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                        found: dict[str, Tensor] = model(batch)
                    accelerator.backward(torch.stack(list(found.values())).sum() / recipe.accumulate)
                for name, value in found.items():
                    losses[name] = losses.get(name, 0) + value.detach() / recipe.accumulate
            total = torch.stack(list(losses.values())).sum()
            norms = [accelerator.clip_grad_norm_(player, recipe.max_grad_norm) for player in players]
            norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
            norm = torch.stack([norm.detach() for norm in norms]).norm()
            for what, value in (("loss", total), ("gradient norm", norm)):
                if not torch.isfinite(value):
                    raise FloatingPointError(
                        f"{recipe.name} step {state.step}: {what} is {value.item()}: the last checkpoint is sound, "
                        "go on from it with a lower learning_rate"
                    )

            # 2. step
            wrapped_optimizer.step()
            wrapped_optimizer.zero_grad()
            state.step += 1
            state.update_average()
            clock.step()

            # 3. report, save, validate
            out_of_time = _on_any(accelerator, stop.requested or time.monotonic() > deadline)
            at_end = state.step == recipe.steps
            if state.step % recipe.log_every == 0 or at_end or out_of_time:
                means = accelerator.reduce(torch.stack(list(losses.values())), reduction="mean")
                values = dict(zip(losses, means.tolist(), strict=True))
                event = TrainEvent(state.step, values, rate, norm.item(), **clock.read())
                if log:
                    log.event(event)
                yield event
            if state.step % recipe.checkpoint_every == 0 or at_end or out_of_time:
                state.save(run, is_main=accelerator.is_main_process)
                accelerator.wait_for_everyone()
            if validator and (state.step % recipe.validation_every == 0 or at_end):
                with state.averaged(), _gathered(model):
                    scores = ValidationEvent(state.step, validator.run(accelerator.unwrap_model(model), state.step))
                if log:
                    log.event(scores)
                yield scores
                clock.read()  # validation is not training time
            if out_of_time:
                break
    state.swap_average()
    if stop.requested:
        raise KeyboardInterrupt


def _warn_of_slow_bf16(recipe: Recipe, device: torch.device) -> None:
    if recipe.precision == "bf16" and default_dtype(device) != torch.bfloat16:
        kind = device_kind(device)
        logger.warning("%s: precision is bf16, which is slow on %s; precision=fp32 is faster here", recipe.name, kind)


def _locked(run: Path) -> AbstractContextManager[object]:
    """Lock the folder of a run until the end of the context. Raises SettingsError if another process trains in it."""
    try:
        return FileLock(run / "lock").acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"{run}: another process is training here; wait for it, stop it, or choose another --set output=FOLDER"
        ) from None


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate: linear warm-up, then cosine decay to a fiftieth."""
    warmup = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return recipe.learning_rate * warmup * (0.02 + 0.98 * cosine)


class Clock:
    """Measure the time per step since the last reading, and the share spent waiting for samples."""

    def __init__(self, samples_per_step: int):
        self.samples_per_step = samples_per_step
        self._restart()

    def _restart(self) -> None:
        self._started, self._steps, self._waited = time.monotonic(), 0, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._waited += time.monotonic() - started

    def step(self) -> None:
        self._steps += 1

    def read(self) -> dict[str, float]:
        seconds = time.monotonic() - self._started
        per_step, share = seconds / max(1, self._steps), self._waited / seconds
        self._restart()
        return {
            "seconds_per_step": per_step,
            "samples_per_second": self.samples_per_step / per_step,
            "waited_share": share,
        }


def _on_any(accelerator: Accelerator, flag: bool) -> bool:
    """Tell whether `flag` is set on any device, so that all stop after the same step."""
    if accelerator.num_processes == 1:
        return flag
    flags = accelerator.reduce(torch.tensor(float(flag), device=accelerator.device))
    return bool(flags > 0)


@contextmanager
def _gathered(model: nn.Module) -> Iterator[None]:
    """Gather sharded weights outside of the blocks for a while: validation calls submodules directly."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()
