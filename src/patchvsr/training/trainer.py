"""The one training loop. Running the same command again continues from the last checkpoint.

Everything random at step n is a function of (seed, n), so a resumed run takes the same steps as an uninterrupted one.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from patchvsr.allocator import keep_freed_memory
from patchvsr.errors import SettingsError
from patchvsr.training.clips import ClipSource
from patchvsr.training.objectives import Stage
from patchvsr.training.recipes import Recipe

STATE = "state.json"


@dataclass(frozen=True)
class TrainEvent:
    """What the loop reports every `log_every` steps."""

    step: int
    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float
    seconds_per_step: float


def train(recipe: Recipe, stage: Stage, source: ClipSource, *, minutes: float | None = None) -> Iterator[TrainEvent]:
    """Trains `stage.modules` in place, ending with their averaged weights; yields an event per log line.

    `minutes` stops early, with a checkpoint to continue from. Raises FloatingPointError on a loss or a gradient that is
    not finite.
    """
    keep_freed_memory()
    torch.set_flush_denormal(True)  # seven times faster while zero-initialised layers are young
    folder = Path(recipe.output) / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    state = TrainingState(recipe, stage, source.digest)
    state.load(folder)
    deadline = time.monotonic() + minutes * 60 if minutes is not None else math.inf

    with _StopSignal() as stop:
        started, last_logged = time.monotonic(), state.step
        while state.step < recipe.steps:
            # 1. data and loss, random numbers from the step alone
            generator = Generator().manual_seed(recipe.seed * 1_000_003 + state.step)
            batch = stage.batch(source, generator)
            state.set_learning_rate()
            with torch.autocast("cpu", torch.bfloat16):
                losses = stage.loss(batch, generator)
            total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                raise FloatingPointError(f"{recipe.name} step {state.step}: loss is {total.item()}")

            # 2. step
            total.backward()
            norm = nn.utils.clip_grad_norm_(state.parameters, recipe.max_grad_norm)
            if not torch.isfinite(norm):
                raise FloatingPointError(f"{recipe.name} step {state.step}: gradient norm is {norm.item()}")
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.update_average()

            # 3. report and save
            out_of_time = stop.requested or time.monotonic() > deadline
            if state.step % recipe.log_every == 0:
                seconds = (time.monotonic() - started) / (state.step - last_logged)
                values = {name: loss.item() for name, loss in losses.items()}
                event = TrainEvent(state.step, values, state.learning_rate, float(norm), seconds)
                with (folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(asdict(event)) + "\n")
                yield event
                started, last_logged = time.monotonic(), state.step
            if state.step % recipe.checkpoint_every == 0 or state.step == recipe.steps or out_of_time:
                state.save(folder)
            if out_of_time:
                break
    state.load_average_into_modules()


class TrainingState:
    """Weights, their moving average, optimiser and step, saved as one folder that appears whole or not at all."""

    def __init__(self, recipe: Recipe, stage: Stage, data_digest: str):
        self.recipe, self.data_digest, self.step = recipe, data_digest, 0
        # Trained parameters and buffers by name; frozen modules belong to the stage, not to the checkpoint.
        self.named = {
            f"{module_name}.{name}": parameter
            for module_name, module in stage.modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.parameters = list(self.named.values())
        self.average = {name: parameter.detach().clone() for name, parameter in self.named.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )

    @property
    def learning_rate(self) -> float:
        warmup = min(1.0, (self.step + 1) / max(1, self.recipe.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.recipe.steps))
        return self.recipe.learning_rate * warmup * (0.02 + 0.98 * cosine)

    def set_learning_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    @torch.no_grad()
    def update_average(self) -> None:
        # A young average forgets faster, or it would remember the initial weights for long.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        averages = [self.average[name] for name in self.named]
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in self.parameters], 1 - decay)

    @torch.no_grad()
    def load_average_into_modules(self) -> None:
        for name, parameter in self.named.items():
            parameter.copy_(self.average[name])

    def save(self, folder: Path) -> None:
        temporary, final = folder / "checkpoint.partial", folder / "checkpoint"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_file(
            {name: parameter.detach().contiguous() for name, parameter in self.named.items()},
            temporary / "weights.safetensors",
        )
        save_file(
            {name: average.contiguous() for name, average in self.average.items()},
            temporary / "average.safetensors",
        )
        save_file(self._optimizer_tensors(), temporary / "optimizer.safetensors")
        state = {"step": self.step, "data": self.data_digest, "recipe": asdict(self.recipe)}
        (temporary / STATE).write_text(json.dumps(state, indent=1))
        previous = folder / "checkpoint.previous"
        shutil.rmtree(previous, ignore_errors=True)
        if final.exists():
            final.rename(previous)
        temporary.rename(final)

    def load(self, folder: Path) -> None:
        checkpoint = next(
            (folder / name for name in ("checkpoint", "checkpoint.previous") if (folder / name).exists()),
            None,
        )
        if checkpoint is None:
            return
        state = json.loads((checkpoint / STATE).read_text())
        if state["data"] != self.data_digest:
            raise SettingsError(f"{checkpoint} was trained on other data: choose another output folder")
        weights = load_file(checkpoint / "weights.safetensors")
        if shapes(weights) != shapes(self.named):
            raise SettingsError(f"{checkpoint} holds another architecture: choose another output folder")
        average, optimizer = (
            load_file(checkpoint / "average.safetensors"),
            load_file(checkpoint / "optimizer.safetensors"),
        )
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(weights[name])
                self.average[name].copy_(average[name])
                self.optimizer.state[parameter] = {
                    key: optimizer[f"{name}/{key}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")
                }
        self.step = state["step"]

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value.contiguous()
            for name, parameter in self.named.items()
            for key, value in self.optimizer.state[parameter].items()
        }


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """What an architecture looks like from outside."""
    return {name: tensor.shape for name, tensor in tensors.items()}


class _StopSignal:
    """Ctrl-C and SIGTERM finish the step and save, instead of losing the time since the last checkpoint."""

    def __enter__(self) -> _StopSignal:
        self.requested = False
        self._previous = {s: signal.signal(s, self._request) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _request(self, *_: object) -> None:
        self.requested = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
