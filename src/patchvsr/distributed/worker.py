"""A worker: the model on one device of a node, or on several that share patches. A Ray actor with its own process."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchvsr import files
from patchvsr.distributed.drafts import Draft, Drafts
from patchvsr.distributed.inputs import InputCache, ServedInput, cache_folder
from patchvsr.errors import PatchVSRError
from patchvsr.events import Notice, Progress
from patchvsr.jobs.folder import JobFolder

if TYPE_CHECKING:
    from patchvsr.decoding import ClipState
    from patchvsr.jobs.plan import Unit
    from patchvsr.jobs.restore import Restorer
    from patchvsr.jobs.work import Machine, Work
    from patchvsr.pixels.size import Size
    from patchvsr.settings import RestoreSettings


@dataclass(frozen=True)
class Failure:
    """Something did not work, for this reason."""

    reason: str


@dataclass(frozen=True)
class Dropped:
    """A unit that was given back before it was begun."""


@dataclass(frozen=True)
class Loaded:
    """The model is loaded. identity: see `jobs.identity.machine_identity`. device: its kind."""

    identity: dict[str, Any]
    device: str


@dataclass(frozen=True)
class Begun:
    """A job can begin on the worker, once it has the input. shares: whether it sees the job's folder."""

    has_input: bool
    shares: bool


class Worker:
    """Restore units on one device. Methods return a `Failure` instead of raising, since not every error can be sent.

    Calls are served in order, except for `progress` and `drop`, which are served at any time.
    """

    def __init__(self, settings: RestoreSettings, threads: int, token: str, devices: int = 1) -> None:
        """token: distinguishes the files of this worker from those of others. devices: that share its patches."""
        self._settings, self._threads, self._token, self._devices = settings, threads, token, devices
        self._dropped: set[int] = set()
        self._restorer: Restorer | None = None
        self._unit: Unit | None = None
        self._frames_done, self._began_at = 0, 0.0

    # --- before a job ---------------------------------------------------------------------------------------

    def load(self) -> Loaded | Failure:
        """Load the model."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported
        try:
            import torch

            from patchvsr.distributed.partners import connect_partners, start_partners
            from patchvsr.jobs.identity import machine_identity
            from patchvsr.loading import load_pipeline

            partners = []
            if self._devices > 1:  # they load the model meanwhile
                partners = start_partners(self._settings, self._threads, self._devices - 1)
            self._pipeline = load_pipeline(self._settings)
            torch.set_num_threads(self._threads)
            identity = machine_identity(self._pipeline)
            if partners:
                connect_partners(self._pipeline, identity, partners)
        except Exception as error:
            return _failure(error)
        device = identity["versions"]["device"]
        return Loaded(identity, device if self._devices == 1 else f"{self._devices} x {device}")

    def machine(self, settings: RestoreSettings, size: Size) -> Machine:
        from patchvsr.jobs.here import machine_of

        return machine_of(self._pipeline, settings, size)

    def begin(self, work: Work, served: ServedInput, drafts: Drafts, shared: bool | None) -> Begun | Failure:
        """Prepare for a job. shared: whether there is shared storage, None to find out."""
        from patchvsr.jobs.frames import FrameSource
        from patchvsr.jobs.restore import Restorer

        self._close()
        try:
            self._cache, self._units = InputCache(served, self._token), work.manifest.units()
            self._dropped.clear()
            self._shares = drafts.is_visible() if shared is None else shared
            self._drafts = drafts if self._shares else Drafts(cache_folder() / f"drafts-{self._token}")
            path: Path | None = served.path
            if shared is False or not served.is_visible():
                path = self._cache.find()
            if path is not None:
                frames = FrameSource(path, work.read, work.manifest.scan)
                self._restorer = Restorer(self._pipeline, replace(work, input=path), frames)
        except Exception as error:
            return _failure(error)
        return Begun(path is not None, self._shares)

    def receive(self, index: int, name: str, data: bytes, last: bool) -> Failure | None:
        """Take a piece of the input."""
        try:
            self._cache.receive(index, name, data)
            if last:
                self._cache.complete()
        except Exception as error:
            return _failure(error)
        return None

    def end(self, discard_input: bool) -> None:
        """Release the job's input, and remove what was kept of it if it is not needed again."""
        self._close()
        if discard_input:
            self._cache.discard()
        if not self._shares:
            files.remove_folder(self._drafts.folder)

    def _close(self) -> None:
        if self._restorer is not None:
            self._restorer.close()
            self._restorer = None

    # --- during a job ---------------------------------------------------------------------------------------

    def restore(self, number: int, handover: bytes | None) -> Draft | Dropped | Failure:
        """Restore one unit.

        handover: what the unit before handed over. None if nothing is needed of it, if this worker restored it last, or
            if it shares the folder.
        """
        import torch

        if number in self._dropped:
            self._dropped.discard(number)
            return Dropped()
        unit = self._units[number]
        torch.set_flush_denormal(True)  # holds for a thread, and Ray calls methods from threads of its own
        self._unit, self._frames_done, self._began_at = unit, 0, time.monotonic()
        try:
            return self._restore(unit, handover)
        except Exception as error:
            return _failure(error)
        finally:
            self._unit = None

    def _restore(self, unit: Unit, handover: bytes | None) -> Draft:
        notices = []
        segment, handed = self._drafts.paths(unit.number, self._token)
        assert self._restorer is not None
        steps = self._restorer.restore(unit, segment, lambda number: self._handover(number, handover))
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                restored = end.value
                break
            match event:
                case Progress(frames):
                    self._frames_done = frames - unit.frames.start
                case Notice(text):
                    notices.append(text)
        if restored.handover is not None:
            from patchvsr.jobs.handover import write_handover

            write_handover(restored.handover, handed)
        return self._drafts.finished(
            unit.number, restored.record, segment, None if restored.handover is None else handed,
            notices=tuple(notices), as_bytes=not self._shares,
        )  # fmt: skip

    def _handover(self, number: int, handover: bytes | None) -> ClipState:
        from patchvsr.jobs.handover import read_handover

        if handover is None:
            return JobFolder(self._drafts.folder, path=self._drafts.folder).read_handover(number)
        return self._drafts.with_file(handover, self._token, read_handover)

    # --- at any time ----------------------------------------------------------------------------------------

    def progress(self) -> tuple[int | None, int, float]:
        """Return the number of the unit being restored, its frames done, and the seconds since it was begun."""
        unit = self._unit
        if unit is None:
            return None, 0, 0.0
        return unit.number, self._frames_done, time.monotonic() - self._began_at

    def drop(self, number: int) -> bool:
        """Give back a unit that is not begun. Returns whether it was."""
        unit = self._unit
        if unit is not None and unit.number == number:
            return False
        self._dropped.add(number)
        return True


def _failure(error: Exception) -> Failure:
    """Return what the driver is told. A worker that has lost a partner ends its process instead."""
    from patchvsr.sampling.parallel import PeerLostError

    if isinstance(error, PeerLostError):  # a new worker starts with new partners
        logging.getLogger("patchvsr").error("%s", error)
        os._exit(1)
    if not isinstance(error, PatchVSRError | FloatingPointError):
        logging.getLogger("patchvsr").exception("unexpected error")  # into Ray's log of this worker
        return Failure(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    return Failure(" ".join(str(error).splitlines()))
