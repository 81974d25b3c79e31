"""Training checkpoints: one folder, written atomically, from which a run resumes exactly.

RUN/checkpoints/step-000500/
    weights.safetensors     trained parameters, and buffers that training changes
    average.safetensors     moving average of the parameters, which is the result of the run
    optimizer.safetensors   AdamW's moments
    state.json              step, digest of the data, steps of the previous stages, recipe
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from patchvsr import files
from patchvsr.errors import OutputError, SettingsError
from patchvsr.training.recipes import STAGES, Recipe
from patchvsr.training.stages import Stage

logger = logging.getLogger(__name__)

STATE = "state.json"


class TrainingState:
    """Weights, their moving average, optimiser and step. Tensors may be sharded; files hold full tensors."""

    def __init__(self, recipe: Recipe, stage: Stage, optimizer: torch.optim.Optimizer, data_digest: str):
        self.recipe, self.optimizer, self.data_digest, self.step = recipe, optimizer, data_digest, 0
        self.trained = trained_parameters(stage)
        parameters = dict(stage.named_parameters())
        self.buffers = {name: value for name, value in stage.state_dict().items() if name not in parameters}
        self.average = {name: parameter.detach().clone() for name, parameter in self.trained.items()}

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the moving average with the current weights."""
        # The decay starts low, so that the average soon forgets the initial weights.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        parameters = [parameter.detach() for parameter in self.trained.values()]
        torch._foreach_lerp_(list(self.average.values()), parameters, 1 - decay)

    @torch.no_grad()
    def swap_average(self) -> None:
        """Swap the weights with their average; a second call swaps them back."""
        for name, parameter in self.trained.items():
            weights = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(weights)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights within the context."""
        self.swap_average()
        try:
            yield
        finally:
            self.swap_average()

    def save(self, run: Path, *, is_main: bool = True) -> None:
        """Write a checkpoint and remove old ones.

        Call on every device, because all take part in gathering sharded tensors; only the main process writes. Raises
        OutputError if writing fails; earlier checkpoints are then kept.
        """
        weights = _whole({name: parameter.detach() for name, parameter in self.trained.items()} | self.buffers)
        average, moments = _whole(self.average), _whole(self._moments())
        if not is_main:
            return
        try:
            self._write(run, {"weights": weights, "average": average, "optimizer": moments})
        except (OSError, SafetensorError) as error:
            raise OutputError(f"cannot write a checkpoint into {run}: {error}: mend that, then go on") from error

    def _write(self, run: Path, contents: Mapping[str, dict[str, Tensor]]) -> None:
        final = run / "checkpoints" / f"step-{self.step:06d}"
        with files.new_folder(final) as partial:  # a checkpoint of the same step has the same contents
            for name, tensors in contents.items():
                save_file(tensors, partial / f"{name}.safetensors")
            state = {
                "step": self.step,
                "data": self.data_digest,
                "stands_on": stages_before(self.recipe),
                "recipe": asdict(self.recipe),
            }
            (partial / STATE).write_text(json.dumps(state, indent=1))
        for old in checkpoints(run)[: -self.recipe.keep_checkpoints]:
            shutil.rmtree(old)

    @torch.no_grad()
    def load(self, run: Path) -> None:
        """Load the last checkpoint of `run`, if there is one.

        Raises SettingsError if it was made from other data, other previous stages or another architecture.
        """
        if not checkpoints(run):
            return
        folder = checkpoints(run)[-1]
        state = read_state(folder)
        if state["data"] != self.data_digest:
            raise SettingsError(f"{folder} was trained on other data: choose another output folder")
        before = stages_before(self.recipe)
        if state.get("stands_on", before) != before:
            raise SettingsError(
                f"{folder} was trained on stages at steps {state['stands_on']}, which are now at {before}: "
                "train it again in another output folder"
            )
        self._tell_changes(state["recipe"])
        files = ("weights", "average", "optimizer")
        weights, average, moments = (load_file(folder / f"{name}.safetensors") for name in files)
        if shapes(weights) != shapes(self.trained | self.buffers):
            raise SettingsError(f"{folder} holds another architecture: choose another output folder")
        for name, parameter in self.trained.items():
            parameter.copy_(_placed_as(parameter, weights[name]))
            self.average[name].copy_(_placed_as(parameter, average[name]))
            if f"{name}/step" in moments:  # none before its first gradient
                self.optimizer.state[parameter] = {
                    "step": moments[f"{name}/step"],
                    "exp_avg": _placed_as(parameter, moments[f"{name}/exp_avg"]),
                    "exp_avg_sq": _placed_as(parameter, moments[f"{name}/exp_avg_sq"]),
                }
        for name, buffer in self.buffers.items():
            buffer.copy_(weights[name])
        self.step = state["step"]

    def _tell_changes(self, before: dict[str, Any]) -> None:
        """Log changed settings: they may change between resumes, but not unnoticed."""
        now = json.loads(json.dumps(asdict(self.recipe)))
        changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
        if changed:
            logger.warning("%s goes on with other settings: %s", self.recipe.name, "; ".join(changed))

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, parameter in self.trained.items()
            for key, value in self.optimizer.state[parameter].items()
        }


def trained_parameters(stage: Stage) -> dict[str, torch.nn.Parameter]:
    """Return the trained parameters of a stage by name."""
    return {name: parameter for name, parameter in stage.named_parameters() if parameter.requires_grad}


def stages_before(recipe: Recipe) -> dict[str, int]:
    """Return the step counts of the previous stages by run name, to detect whether one of them was trained further."""
    runs = [recipe.run_of(stage) for stage in STAGES[: STAGES.index(recipe.stage)]]
    return {run.name: read_state(checkpoints(run)[-1])["step"] for run in runs if checkpoints(run)}


def checkpoints(run: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first."""
    return sorted(folder for folder in (run / "checkpoints").glob("step-*"))


def last_checkpoint(run: Path) -> Path:
    """Return the last checkpoint of a run. Raises SettingsError if there is none."""
    found = checkpoints(run)
    if not found:
        raise SettingsError(f"{run} holds no checkpoint: train that stage first (patchvsr train {run.name})")
    return found[-1]


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read the `state.json` of a checkpoint."""
    return json.loads((checkpoint / STATE).read_text())


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shapes by name, to compare architectures."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).contiguous().cpu()
        for name, tensor in tensors.items()
    }


def _placed_as(model: Tensor, whole: Tensor) -> Tensor:
    """Move `whole` to the device of `model` and shard it in the same way."""
    whole = whole.to(model.device)
    return distribute_tensor(whole, model.device_mesh, model.placements) if isinstance(model, DTensor) else whole
