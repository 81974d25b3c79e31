"""The workers of a cluster: one on each device, on every node with room, as nodes join and leave."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from patchvsr.distributed import worker
from patchvsr.distributed.settings import ClusterSettings, Room
from patchvsr.distributed.worker import Failure, Loaded
from patchvsr.events import Event, WorkerJoined, WorkerLeft
from patchvsr.jobs.identity import differences
from patchvsr.jobs.plan import Unit
from patchvsr.settings import RestoreSettings

NODES_S = 2.0  # how often the list of nodes is read
MOST_STARTS = 3  # of workers on a node that end before they have loaded the model


class Leased(NamedTuple):
    """A unit that a worker has been given. job: the number of its job."""

    job: int
    unit: Unit


@dataclass(eq=False)
class Member:
    """A worker as the driver knows it.

    loaded: None while it loads the model.
    units: leased to it, of any jobs; the first is being restored. frames: done of the first.
    frames_per_s: by job, of the unit being restored or the last one.
    begins: number of the job that it begins, or is sent a handover for, so that it can restore the last of its units.
        It is given nothing else meanwhile.
    last_done: job and number of the unit whose state it still holds.
    """

    name: str
    node_id: str
    node: str
    actor: Any
    loaded: Loaded | None = None
    units: list[Leased] = field(default_factory=list)
    frames: int = 0
    frames_per_s: dict[int, float] = field(default_factory=dict)
    begins: int | None = None
    last_done: tuple[int, int] | None = None
    asked_at: float = 0.0


@dataclass(frozen=True)
class Call:
    """A call to a worker whose answer is awaited. about: the number that it is about: a unit, or a piece of the input.

    job: number of the job that it belongs to, 0 if it belongs to none.
    """

    member: Member
    method: str
    about: int
    job: int


@dataclass(frozen=True)
class Lost:
    """What comes instead of an answer from a worker that has died."""

    reason: str


class Fleet:
    """Start workers, call them, and notice those that die.

    `events` collects what users should know.

    versions: of the libraries here, which must be the same on every node.
    devices: of a worker.
    """

    def __init__(self, settings: ClusterSettings, restore: RestoreSettings, versions: dict[str, Any]) -> None:
        self._settings, self._restore, self._versions = settings, restore, versions
        self.shared_storage, self.devices = settings.shared_storage, settings.patch_parallel
        self.members: dict[str, Member] = {}
        self.refusals: dict[str, str] = {}  # by node
        self.events: list[Event] = []
        self.left: list[tuple[Member, str]] = []  # workers that were lost or refused, and why, until jobs heed it
        self.jobs = 0  # begun so far; each is known to the workers by its number
        self._calls: dict[Any, Call] = {}
        self._starts: Counter[str] = Counter()
        self._count, self._looked_at = 0, -NODES_S
        self._any_gpus = False
        self.rooms: dict[str, Room] = {}

    @property
    def loading(self) -> list[Member]:
        return [member for member in self.members.values() if member.loaded is None]

    @property
    def loaded(self) -> list[Member]:
        return [member for member in self.members.values() if member.loaded is not None]

    # --- workers ------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Start workers wherever there is room, and forget those whose node is gone. Looks every few seconds."""
        import ray

        if time.monotonic() - self._looked_at < NODES_S:
            return
        self._looked_at = time.monotonic()
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for member in list(self.members.values()):
            if member.node_id not in nodes:
                self.lose(member, "its node left the cluster")
        self._any_gpus |= any(node["Resources"].get("GPU", 0) for node in nodes.values())
        self.rooms = {
            node_id: self._settings.room(node["Resources"], any_gpus=self._any_gpus) for node_id, node in nodes.items()
        }
        held = Counter(member.node_id for member in self.members.values())
        for node_id, room in self.rooms.items():
            if node_id in self.refusals:
                continue
            for _ in range(room.workers - held[node_id]):
                if self._settings.workers is None or len(self.members) < self._settings.workers:
                    self._start(nodes[node_id], room)

    def _start(self, node: dict[str, Any], room: Room) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._count += 1
        name = node["NodeName"] if node["NodeName"] != node["NodeManagerAddress"] else node["NodeManagerHostname"]
        settings = on_worker(self._restore, gpus=room.gpus)
        options: dict[str, Any] = {
            "num_cpus": room.cpus,
            "num_gpus": room.gpus,
            "concurrency_groups": {"beside": 1, "watch": 1},
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        }
        token = uuid.uuid4().hex[:8]
        actor = ray.remote(**options)(_watched_worker()).remote(settings, room.cpus, token, self.devices)
        member = Member(f"{name}/{self._count}", node["NodeID"], name, actor)
        self.members[member.name] = member
        self.call(member, "load")

    def lose(self, member: Member, reason: str) -> None:
        """Forget a worker that has died. One that never loaded the model counts against its node."""
        if self.members.pop(member.name, None) is None:
            return
        self._say_left(member, reason)
        self._kill(member)  # it may only be out of reach, and would keep the room that its successor needs
        if member.loaded is None:
            self._starts[member.node_id] += 1
            if self._starts[member.node_id] >= MOST_STARTS:
                self.refusals[member.node_id] = f"{member.node}: {reason} while it loaded the model"

    def refuse(self, member: Member, reason: str) -> None:
        """End a worker and start no other on its node."""
        if self.members.pop(member.name, None) is None:
            return
        self.refusals[member.node_id] = f"{member.node}: {reason}"
        self._say_left(member, reason)
        self._kill(member)

    def refuse_others(self, identity: dict[str, Any]) -> None:
        """Refuse all workers that would give other bytes than a machine of this identity."""
        for member in self.loaded:
            assert member.loaded is not None
            changes = differences(identity, member.loaded.identity)
            if changes:
                self.refuse(member, f"refused, as it would give other bytes: {'; '.join(changes)}")

    def end(self) -> None:
        """End all workers."""
        for member in self.members.values():
            self._kill(member)
        self.members.clear()

    def _kill(self, member: Member) -> None:
        import ray

        ray.kill(member.actor)

    def _say_left(self, member: Member, reason: str) -> None:
        self.left.append((member, reason))
        self.events.append(WorkerLeft(member.name, member.node, reason))

    def news(self) -> list[Event]:
        """Return what has happened since the last call."""
        events, self.events = self.events, []
        return events

    # --- calls --------------------------------------------------------------------------------------------

    def put(self, value: Any) -> Any:
        """Store a value where workers can fetch it, and return its reference."""
        import ray

        return ray.put(value)

    def call(self, member: Member, method: str, *arguments: Any, job: int = 0, about: int = -1) -> None:
        """Call a method of a worker. It gets the number of the job first, unless that is 0."""
        given = (job, *arguments) if job else arguments
        self._calls[getattr(member.actor, method).remote(*given)] = Call(member, method, about, job)

    def answers(self, seconds: float) -> Iterable[tuple[Call, Any]]:
        """Wait for an answer, at most so long, and yield all that are there, except those of workers that have died."""
        import ray

        if not self._calls:
            time.sleep(seconds)
            return
        ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        for reference in ready:
            call = self._calls.pop(reference)
            answer = _answer(reference)
            if call.member.name not in self.members:
                continue  # an answer that a lost worker had left behind
            if isinstance(answer, Lost):
                self.lose(call.member, answer.reason)
                continue
            if call.method == "load":
                self._has_loaded(call.member, answer)
            else:
                yield call, answer

    def ask(self, member: Member, method: str, *arguments: Any) -> Any:
        """Call a method that a worker serves at any time. Returns its answer, which is `Lost` if the worker died."""
        return _answer(getattr(member.actor, method).remote(*arguments))

    def _has_loaded(self, member: Member, answer: Loaded | Failure) -> None:
        if isinstance(answer, Failure):
            self.refuse(member, answer.reason)
            return
        changes = differences({"versions": self._versions}, {"versions": _without_device(answer.identity["versions"])})
        if changes:
            self.refuse(member, f"refused, as it differs from this machine: {'; '.join(changes)}")
            return
        member.loaded = answer
        self._starts.pop(member.node_id, None)
        self.events.append(WorkerJoined(member.name, member.node, answer.device))


def _watched_worker() -> type[worker.Worker]:
    """Return a class of workers on whose methods Ray reads which of them do not wait for a unit to be restored."""
    import ray

    beside: Any = ray.method(concurrency_group="beside")
    watched: Any = ray.method(concurrency_group="watch")

    class Worker(worker.Worker):  # with methods of its own, as what is marked must travel with the class
        @beside
        def machine(self, *given: Any) -> Any:
            return super().machine(*given)

        @beside
        def begin(self, *given: Any) -> Any:
            return super().begin(*given)

        @beside
        def receive(self, *given: Any) -> Any:
            return super().receive(*given)

        @beside
        def send(self, *given: Any) -> Any:
            return super().send(*given)

        @beside
        def accept(self, *given: Any) -> Any:
            return super().accept(*given)

        @watched
        def progress(self) -> Any:
            return super().progress()

        @watched
        def drop(self, *given: Any) -> Any:
            return super().drop(*given)

    return Worker


def on_worker(settings: RestoreSettings, *, gpus: float) -> RestoreSettings:
    """Return the settings for a worker: its own device, and the model's folder by its full path."""
    model = Path(settings.model)
    return replace(
        settings,
        device=settings.device or ("cuda" if gpus else "cpu"),
        model=str(model.absolute()) if model.is_dir() else settings.model,
    )


def _without_device(versions: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in versions.items() if name != "device"}


def _answer(reference: Any) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:  # an exception that the worker did not expect
        return Failure(f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())[:500]}")
    except RayError as error:
        return Lost(_reason(str(error)))


def _reason(message: str) -> str:
    """Return why a worker died, in a few words out of Ray's many."""
    text = message.lower()
    if "running low on memory" in text:  # Ray guesses at memory in other messages, too
        return "its node ran out of memory"
    if "its node has died" in text:
        return "its node left the cluster"
    if "no module named" in text:
        return f"patchvsr is not installed there ({' '.join(message.split())[-200:]})"
    if "unavailable" in text:
        return "it was out of reach"
    return "its process ended"
