"""A partner: a device that takes its share of a worker's steps. A Ray actor, which ends with that of the worker."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchvsr.settings import RestoreSettings


class Partner:
    """Denoise what the worker denoises, at the same time."""

    def here(self) -> None:
        """Answer, which shows that there was room."""

    def load(self, settings: RestoreSettings, threads: int) -> dict[str, Any]:
        """Load the model and return the identity of the device, see `jobs.identity.machine_identity`."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a worker does, before torch is imported
        import torch

        from patchvsr.jobs.identity import machine_identity
        from patchvsr.loading import load_pipeline

        self._pipeline = load_pipeline(settings)
        torch.set_num_threads(threads)
        return machine_identity(self._pipeline)

    def join(self, meeting: Path, rank: int, size: int) -> None:
        """Connect to the other devices of the group, which wait in the file `meeting`."""
        from patchvsr.distributed.partners import connected
        from patchvsr.sampling.parallel import PatchGroup

        self._pipeline.devices = PatchGroup(connected(meeting, rank, size))

    def denoise(self, arguments: dict[str, Any]) -> None:
        """Take part in denoising a clip. The worker has the result, too."""
        import torch

        torch.set_flush_denormal(True)  # holds for a thread, and Ray calls methods from threads of its own
        self._pipeline.denoise(**arguments)


@dataclass(frozen=True)
class Started:
    """A partner that was started. here, identity: references to the answers of `Partner.here` and `Partner.load`."""

    actor: Any
    here: Any
    identity: Any


def start_partners(settings: RestoreSettings, threads: int, count: int) -> list[Started]:
    """Start `count` partners on this node, which load the model. Each reserves what this actor does.

    Needs no libraries but Ray, so a worker can call it before it loads its own, which takes as long as theirs.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = ray.get_runtime_context()
    reserved = context.get_assigned_resources()
    options: dict[str, Any] = {
        "num_cpus": reserved.get("CPU", 0),
        "num_gpus": reserved.get("GPU", 0),
        "scheduling_strategy": NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False),
    }
    actors: list[Any] = [ray.remote(**options)(Partner).remote() for _ in range(count)]
    return [Started(actor, actor.here.remote(), actor.load.remote(settings, threads)) for actor in actors]
