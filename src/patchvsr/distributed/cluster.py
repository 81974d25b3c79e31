"""A Ray cluster as the place where jobs are restored. The driver keeps the manifest and does no work of the model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from patchvsr.distributed.distribution import Distribution
from patchvsr.distributed.fleet import Fleet, Lost
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.distributed.worker import Failure
from patchvsr.errors import ClusterError
from patchvsr.events import Event, Notice
from patchvsr.extras import require
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.work import Engine, Machine, Stop, Work
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings

PATIENCE_S = 60.0  # until the first node with room joins
WAIT_S = 1.0  # for an answer, before the workers are asked for their progress


class Cluster(Engine):
    """The workers of a cluster. They keep their model from one job to the next. Use `connect`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._identity: dict[str, Any] = {}
        self._said_waiting = False

    def machine(self, settings: RestoreSettings, size: Size, begun_with: dict[str, Any] | None) -> Machine:
        """Return what most workers are, or those like the machine that began the job.

        Raises ClusterError if there is no worker.
        """
        started_at = time.monotonic()
        while True:
            self._fleet.refresh()
            self._refuse_to_wait(started_at)
            identities = [member.loaded.identity for member in self._fleet.loaded if member.loaded is not None]
            enough = len(identities) > len(self._fleet.loading)
            if begun_with in identities or (enough and (begun_with is None or not self._fleet.loading)):
                break
            list(self._fleet.answers(WAIT_S))
        self._identity = begun_with if begun_with in identities else max(identities, key=identities.count)
        for member in self._fleet.loaded:
            if member.loaded is not None and member.loaded.identity == self._identity:
                answer = self._fleet.ask(member, "machine", settings, size)
                if not isinstance(answer, Lost | Failure):
                    return answer
                self._fleet.lose(member, answer.reason)
        self._fleet.left.clear()
        return self.machine(settings, size, begun_with)

    def restore(self, work: Work, folder: JobFolder, stop: Stop | None) -> Iterator[Event]:
        """Restore the missing units. Raises JobError for a unit that failed again and again."""
        job = Distribution(self._fleet, work, folder, stop)
        try:
            while not job.finished:
                # 1. Look for nodes that have joined or left; let new workers begin, except those of another kind.
                self._fleet.refresh()
                self._fleet.refuse_others(self._identity)
                job.forget_workers_that_left()
                job.begin_on_new_workers()
                # 2. Give every worker a unit to restore, and one to go on with.
                job.hand_out()
                job.ask_for_progress()
                # 3. Wait for answers: finished units are published in the job's folder.
                for call, answer in self._fleet.answers(WAIT_S):
                    job.take(call, answer)
                # 4. Tell what has happened.
                yield from job.news()
                yield from self._waiting(job)
        finally:
            job.end()
        job.raise_error()

    def _waiting(self, job: Distribution) -> Iterator[Event]:
        if self._fleet.members or job.finished:
            self._said_waiting = False
            return
        self._refuse_to_wait(None)
        if not self._said_waiting:
            self._said_waiting = True
            yield Notice("no worker is left: waiting for a node to join the cluster")

    def _refuse_to_wait(self, started_at: float | None) -> None:
        """Raise ClusterError if no worker can be expected."""
        fleet = self._fleet
        if fleet.members:
            return
        if fleet.refusals and all(node in fleet.refusals for node, room in fleet.rooms.items() if room.workers):
            reasons = "; ".join(dict.fromkeys(fleet.refusals.values()))
            raise ClusterError(f"no node of the cluster can be used: {reasons}")
        if started_at is not None and time.monotonic() - started_at > PATIENCE_S:
            rooms = fleet.rooms.values()
            cpus, gpus = max((room.cpus for room in rooms), default=1), max((room.gpus for room in rooms), default=0)
            raise ClusterError(
                f"none of the {len(rooms)} nodes of the cluster has room for a worker with "
                f"{fleet.devices} devices of {cpus} CPUs and {gpus:g} GPUs: see `ray status`, and reduce "
                "--cpus-per-worker, --gpus-per-worker or --patch-parallel"
            )


@contextmanager
def connect(settings: ClusterSettings, restore: RestoreSettings) -> Iterator[Cluster]:
    """Connect to a cluster and start workers with the model of `restore`; end them on exit.

    Uses the connection of this process if there is one already.

    Raises ClusterError if the cluster cannot be reached, and PatchVSRError if Ray is not installed.
    """
    if settings.address == "local":
        # Ray would listen on the address by which the network knows this machine. With this, as on macOS, it listens
        # on 127.0.0.1. It is read when Ray is imported.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray = require("ray", extra="ray")
    ours = not ray.is_initialized()
    if ours:
        _init(ray, settings.address)
    fleet = Fleet(settings, restore, _versions_here())
    try:
        yield Cluster(fleet)
    finally:
        fleet.end()
        if ours:
            ray.shutdown()


def _init(ray: Any, address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    elif address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(address=address, **options)
    except Exception as error:  # of many kinds, as Ray has many ways to connect
        reason = " ".join(str(error).split())[:300]
        raise ClusterError(
            f"no Ray cluster at {address!r}: {reason}; start one with `ray start --head`, give its address, "
            "or use --ray local"
        ) from error


def _versions_here() -> dict[str, Any]:
    """Return the versions of the libraries with which this machine plans and assembles."""
    import torch

    from patchvsr.jobs.identity import version_identity

    found = version_identity(torch.device("cpu"))
    del found["device"]
    return found
