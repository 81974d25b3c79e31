"""The partners of a worker: connect them, and let them take their share of every step's patches."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.distributed import FileStore, ProcessGroupGloo  # type: ignore[attr-defined]

from patchvsr.distributed.partner import Started
from patchvsr.errors import ClusterError
from patchvsr.jobs.identity import differences
from patchvsr.sampling.parallel import PatchGroup, PeerFailedError, PeerLostError

if TYPE_CHECKING:
    from patchvsr.pipeline import PatchVSRPipeline

ROOM_S = 120.0  # for partners to find room; two drivers that want one node would wait for each other
LOADING_S = 1200.0  # for partners to load the model
MEETING = timedelta(minutes=2)  # for all devices to connect once they have loaded the model
PATIENCE = timedelta(minutes=30)  # of a device that has done its share and waits for the others


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


def connect_partners(pipeline: PatchVSRPipeline, identity: dict[str, Any], partners: list[Started]) -> None:
    """Let the partners share the patches of `pipeline`, on a device of this identity, from now on.

    Raises ClusterError if one is of another kind or finds no room, PeerLostError if one has died, and what one of them
    raised while it loaded the model.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

    actors = [partner.actor for partner in partners]
    try:
        _, missing = ray.wait([partner.here for partner in partners], num_returns=len(partners), timeout=ROOM_S)
        if missing:
            raise ClusterError(
                f"{len(missing)} of {len(partners)} more devices found no room on the node within {ROOM_S:g} s: other "
                "programs hold them, see `ray status`"
            )
        for other in ray.get([partner.identity for partner in partners], timeout=LOADING_S):
            changes = differences(identity, other)
            if changes:
                raise ClusterError(f"devices that share patches must be of one kind: {'; '.join(changes)}")
        with tempfile.TemporaryDirectory() as folder:
            meeting, size = Path(folder) / "meeting", len(partners) + 1
            joined = [actor.join.remote(meeting, rank, size) for rank, actor in enumerate(actors, 1)]
            pipeline.devices = LeadingGroup(connected(meeting, 0, size), actors)
            ray.get(joined)
    except GetTimeoutError:
        raise ClusterError(f"{len(partners)} more devices have not loaded the model in {LOADING_S:g} s") from None
    except RayActorError as error:
        raise PeerLostError(f"a device that shares the patches is gone: {error}") from error
    except RayTaskError as error:
        raise error.cause from None


def connected(meeting: Path, rank: int, size: int) -> ProcessGroupGloo:
    """Return the group of the devices that meet in the file `meeting`. Raises PeerLostError if one does not come."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if os.uname().sysname == "Linux" else "lo0")
    try:
        group = ProcessGroupGloo(FileStore(str(meeting), size), rank, size, MEETING)
    except RuntimeError as error:
        raise PeerLostError(f"a device that shares the patches did not come: {error}") from error
    group.set_timeout(PATIENCE)
    return group


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
