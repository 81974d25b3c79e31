"""The partners of a worker: other devices of its node that take their share of every step's patches."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.distributed import FileStore, ProcessGroupGloo  # type: ignore[attr-defined]

from patchvsr.errors import ClusterError
from patchvsr.jobs.identity import differences, machine_identity
from patchvsr.loading import load_pipeline
from patchvsr.sampling.parallel import PatchGroup, PeerFailedError, PeerLostError

if TYPE_CHECKING:
    from patchvsr.pipeline import PatchVSRPipeline
    from patchvsr.settings import RestoreSettings

STARTING_S = 1200.0  # for partners to find room and load the model
PATIENCE = timedelta(minutes=30)  # of a device that has done its share and waits for the others


class Partner:
    """Denoise what the worker denoises, at the same time. Runs as a Ray actor, which ends with that of the worker."""

    def __init__(self, settings: RestoreSettings, threads: int) -> None:
        import torch

        self._pipeline = load_pipeline(settings)
        torch.set_num_threads(threads)

    def identity(self) -> dict[str, Any]:
        """Return the identity of the device, see `jobs.identity.machine_identity`."""
        return machine_identity(self._pipeline)

    def join(self, meeting: Path, rank: int, size: int) -> None:
        """Connect to the other devices of the group, which wait in the file `meeting`."""
        self._pipeline.devices = PatchGroup(_connected(meeting, rank, size))

    def denoise(self, arguments: dict[str, Any]) -> None:
        """Take part in denoising a clip. The worker has the result, too."""
        import torch

        torch.set_flush_denormal(True)  # holds for a thread, and Ray calls methods from threads of its own
        self._pipeline.denoise(**arguments)


class LeadingGroup(PatchGroup):
    """The first device of a group, which calls the others."""

    def __init__(self, group: ProcessGroupGloo, partners: list[Any]) -> None:
        super().__init__(group)
        self._partners = partners

    @contextmanager
    def together(self, **arguments: Any) -> Iterator[None]:
        import ray

        given = ray.put(arguments)
        answers = [partner.denoise.remote(given) for partner in self._partners]
        try:
            with super().together():
                yield
        except PeerFailedError:
            _raise_reason(answers)
            raise


def start_partners(settings: RestoreSettings, threads: int, count: int) -> list[Any]:
    """Start `count` partners on this node, which load the model. Each reserves what this actor does."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = ray.get_runtime_context()
    reserved = context.get_assigned_resources()
    options: dict[str, Any] = {
        "num_cpus": reserved.get("CPU", 0),
        "num_gpus": reserved.get("GPU", 0),
        "scheduling_strategy": NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False),
    }
    return [ray.remote(**options)(Partner).remote(settings, threads) for _ in range(count)]


def connect_partners(pipeline: PatchVSRPipeline, identity: dict[str, Any], partners: list[Any]) -> None:
    """Let the partners share the patches of `pipeline`, on a device of this identity, from now on.

    Raises ClusterError if one is of another kind or finds no room, PeerLostError if one has died.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        for other in ray.get([partner.identity.remote() for partner in partners], timeout=STARTING_S):
            changes = differences(identity, other)
            if changes:
                raise ClusterError(f"devices that share patches must be of one kind: {'; '.join(changes)}")
        with tempfile.TemporaryDirectory() as folder:
            meeting, size = Path(folder) / "meeting", len(partners) + 1
            joined = [partner.join.remote(meeting, rank, size) for rank, partner in enumerate(partners, 1)]
            pipeline.devices = LeadingGroup(_connected(meeting, 0, size), partners)
            ray.get(joined)
    except GetTimeoutError:
        raise ClusterError(
            f"{len(partners)} more devices were not there after {STARTING_S:g} s: other programs hold them, "
            "see `ray status`"
        ) from None
    except RayActorError as error:
        raise PeerLostError(f"a device that shares the patches is gone: {error}") from error


def _connected(meeting: Path, rank: int, size: int) -> ProcessGroupGloo:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if os.uname().sysname == "Linux" else "lo0")
    return ProcessGroupGloo(FileStore(str(meeting), size), rank, size, PATIENCE)


def _raise_reason(answers: list[Any]) -> None:
    """Raise what made one of the partners fail."""
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    for answer in answers:
        try:
            ray.get(answer)
        except RayActorError as error:
            raise PeerLostError(f"a device that shares the patches is gone: {error}") from error
        except RayTaskError as error:
            if not isinstance(error.cause, PeerFailedError):
                raise error.cause from None
