"""A Ray cluster as the place where jobs are restored. The driver keeps the manifest and does no work of the model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from patchvsr.distributed.distribution import AHEAD, STATUS_S, Distribution
from patchvsr.distributed.drafts import Draft, discard
from patchvsr.distributed.fleet import Fleet, Lost, Member
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.distributed.worker import Failure
from patchvsr.errors import ClusterError, PatchVSRError, SettingsError
from patchvsr.events import Event, Notice
from patchvsr.extras import require
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.work import Engine, Machine, Stop, Work
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings

PATIENCE_S = 60.0  # until the first node with room joins
WAIT_S = 1.0  # for an answer, before the workers are asked for their progress again
ATTEMPTS = 3  # behind ray://, the head starts a process for every client, which now and then ends at once


class Cluster(Engine):
    """The workers of a cluster. They keep their model from one job to the next. Use `connect`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._jobs: dict[int, Distribution] = {}  # whose units are being restored, the oldest first
        self._identity: dict[str, Any] = {}
        self._said_waiting = False

    def machine(self, settings: RestoreSettings, size: Size, begun_with: dict[str, Any] | None) -> Machine:
        """Return what most workers are, or those like the machine that began the job.

        With jobs in flight it is what these are restored with, as all others have been refused.

        Raises ClusterError if there is no worker.
        """
        started_at = time.monotonic()
        wanted = self._identity if self._jobs else begun_with
        while True:
            self.hand_out()
            self._refuse_to_wait(started_at)
            identities = [member.loaded.identity for member in self._fleet.loaded if member.loaded is not None]
            enough = len(identities) > len(self._fleet.loading)
            if wanted in identities or (enough and (wanted is None or not self._fleet.loading)):
                break
            self.take_answers(wait=True)
        self._identity = wanted if wanted in identities else max(identities, key=identities.count)
        for member in self._fleet.loaded:
            if member.loaded is not None and member.loaded.identity == self._identity:
                answer = self._fleet.ask(member, "machine", settings, size)
                if isinstance(answer, Failure):
                    raise SettingsError(answer.reason)
                if not isinstance(answer, Lost):
                    return answer
                self._fleet.lose(member, answer.reason)
        return self.machine(settings, size, begun_with)

    def restore(self, work: Work, folder: JobFolder, stop: Stop | None) -> Iterator[Event | None]:
        """Restore the missing units. Raises JobError for a unit that failed again and again."""
        job = Distribution(self._fleet, work, folder, stop)
        self._jobs[job.number] = job
        try:
            while not job.finished:
                yield None  # until the workers have had their turn: `hand_out` and `take_answers`
                oldest = job is next(iter(self._jobs.values()))
                if oldest:
                    yield from self._fleet.news()
                yield from job.news(oldest=oldest)
                yield from self._waiting(job)
        finally:
            del self._jobs[job.number]
            # Another file in flight with the same contents is the same to a node that was sent it.
            job.end(keep_input=any(job.served.identity == other.served.identity for other in self._jobs.values()))
        job.raise_error()

    def hand_out(self) -> bool:
        """Give every worker a unit to restore, and one to go on with. Returns whether some could take more."""
        fleet, jobs = self._fleet, list(self._jobs.values())
        # 1. Look for nodes that have joined or left, and refuse workers of another kind.
        fleet.refresh()
        if jobs:
            fleet.refuse_others(self._identity)
        left, fleet.left = fleet.left, []
        for member, reason in left:
            for job in jobs:
                job.forget(member, reason)
        # 2. Hand out units: to workers that have none, then to those that have one; of the oldest job, then of others.
        members = fleet.loaded
        names = {member.name for member in members}
        for job in jobs:
            job.heed_stop()
        for held in range(AHEAD):
            for job in jobs:
                with _stopping(job):
                    job.hand_out(members, names, held)
        # 3. Ask for units back that wait behind others, for workers without any.
        idle = [member.name for member in members if not member.units]
        for job in jobs:
            job.rebalance(idle)
        # 4. Ask how far the workers are.
        self._ask_for_progress()
        return any(len(member.units) < AHEAD and member.begins is None for member in members)

    def take_answers(self, *, wait: bool) -> None:
        """Take the answers of the workers: finished units are published in the folders of their jobs."""
        for call, answer in self._fleet.answers(WAIT_S if wait else 0.0):
            if call.method == "progress":
                self._take_progress(call.member, answer)
            elif call.job in self._jobs:
                job = self._jobs[call.job]
                with _stopping(job):
                    job.take(call, answer)
            elif isinstance(answer, Draft):  # of a job that has ended
                discard(answer)

    def _ask_for_progress(self) -> None:
        """Ask the workers that are restoring a unit how far they are, if it is time."""
        now = time.monotonic()
        seconds = STATUS_S * max(1.0, len(self._fleet.members) / 100)
        for member in self._fleet.members.values():
            if member.units and now - member.asked_at >= seconds:
                member.asked_at = now
                self._fleet.call(member, "progress")

    def _take_progress(self, member: Member, answer: Any) -> None:
        if isinstance(answer, Failure):
            self._fleet.refuse(member, answer.reason)
        elif answer is not None and answer[0] in self._jobs:
            self._jobs[answer[0]].take_progress(member, *answer[1:])

    def _waiting(self, job: Distribution) -> Iterator[Event]:
        if self._fleet.members:
            self._said_waiting = False
            return
        if job.finished:
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
def _stopping(job: Distribution) -> Iterator[None]:
    """Let an error of this job stop it alone."""
    try:
        yield
    except PatchVSRError as error:
        job.fail(error)


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
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:  # of many kinds, as Ray has many ways to connect
            reason = " ".join(str(error).split())[:300]
            if attempt == ATTEMPTS or not isinstance(error, ConnectionAbortedError):
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
