"""Which cluster to use, and what each worker reserves there."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from patchvsr.errors import SettingsError


class Room(NamedTuple):
    """Number of workers that a node holds, and the CPUs and GPUs that each of their devices reserves."""

    workers: int
    cpus: int
    gpus: float


@dataclass(frozen=True)
class ClusterSettings:
    """How to use a cluster.

    address: "auto" (RAY_ADDRESS, else the cluster that this machine belongs to), "local" (one that is started here and
        ends with the command), "ray://HOST:10001" (from a machine that does not belong to it) or "HOST:6379".
    workers: the most workers to start; None for as many as there is room for.
    gpus_per_worker: None is 1 if any node has a GPU, else 0. Workers without a GPU compute on the CPU.
    cpus_per_worker: also the number of torch's threads. None shares the CPUs of a node among its workers with a GPU,
        or gives all of them to a single worker without.
    patch_parallel: devices of a node that are one worker and share the patches of every step. Each reserves CPUs and
        GPUs as above.
    shared_storage: whether workers see input and job folder under the same paths; None finds out for each worker.
    """

    address: str = "auto"
    workers: int | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: int | None = None
    patch_parallel: int = 1
    shared_storage: bool | None = None

    def __post_init__(self) -> None:
        known = self.address in ("auto", "local") or ":" in self.address
        if not known:
            raise SettingsError(f"address {self.address!r} of a cluster: give auto, local or ray://HOST:10001")
        for name in ("workers", "cpus_per_worker", "patch_parallel"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}: it must be at least 1")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise SettingsError(f"gpus_per_worker is {self.gpus_per_worker:g}: it must be 0 or more")

    def room(self, resources: dict[str, Any], *, any_gpus: bool) -> Room:
        """Return the room on a node with these `resources`. any_gpus: whether any node of the cluster has a GPU."""
        gpus = float(any_gpus) if self.gpus_per_worker is None else self.gpus_per_worker
        node_cpus = int(resources.get("CPU", 0))
        devices = resources.get("GPU", 0) // gpus if gpus else inf
        sharing = devices if 0 < devices < inf else self.patch_parallel
        cpus = self.cpus_per_worker or max(1, int(node_cpus // sharing))
        return Room(int(min(devices, node_cpus // cpus) // self.patch_parallel), cpus, gpus)
