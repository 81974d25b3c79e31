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
from patchvsr.distributed.partner import start_partners
from patchvsr.distributed.pieces import Piece, Pieces, add_piece
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


@dataclass
class BegunJob:
    """A job that has begun on a worker. path: of its input here, None until that is received.

    shares: whether the worker sees the job's folder. restorer: with the open input, for the job restored last only.
    """

    work: Work
    units: list[Unit]
    cache: InputCache
    path: Path | None
    drafts: Drafts
    shares: bool
    restorer: Restorer | None = None

    def close(self) -> None:
        """Release the input and the state for the next unit."""
        if self.restorer is not None:
            self.restorer.close()
            self.restorer = None


class Worker:
    """Restore units on one device. Methods return a `Failure` instead of raising, since not every error can be sent.

    Units are restored in the order of the calls, and a job ends behind its units. `machine`, `begin`, `receive`, `send`
    and `accept` are served meanwhile, in their order, and so are `progress` and `drop`.
    """

    def __init__(self, settings: RestoreSettings, threads: int, token: str, devices: int = 1) -> None:
        """token: distinguishes the files of this worker from those of others. devices: that share its patches."""
        self._settings, self._threads, self._token, self._devices = settings, threads, token, devices
        self._jobs: dict[int, BegunJob] = {}  # by their number
        self._dropped: set[tuple[int, int]] = set()  # job and number of a unit
        self._unit: tuple[int, Unit] | None = None  # being restored, and its job
        self._frames_done, self._began_at = 0, 0.0

    # --- before a job ---------------------------------------------------------------------------------------

    def load(self) -> Loaded | Failure:
        """Load the model."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported
        try:
            partners = []
            if self._devices > 1:  # they load libraries and model meanwhile
                partners = start_partners(self._settings, self._threads, self._devices - 1)

            import torch

            from patchvsr.distributed.partners import connect_partners
            from patchvsr.jobs.identity import machine_identity
            from patchvsr.jobs.memory import usable_memory_gib
            from patchvsr.loading import load_pipeline

            self._pipeline = load_pipeline(self._settings)
            torch.set_num_threads(self._threads)
            self._identity = machine_identity(self._pipeline)
            if partners:
                connect_partners(self._pipeline, self._identity, partners)
            # Measured before there is work, as a job must not depend on the jobs beside it.
            self._usable_gib = usable_memory_gib()
        except Exception as error:
            return _failure(error)
        device = self._identity["versions"]["device"]
        return Loaded(self._identity, device if self._devices == 1 else f"{self._devices} x {device}")

    def machine(self, settings: RestoreSettings, size: Size) -> Machine | Failure:
        from patchvsr.jobs.here import machine_of

        try:
            return machine_of(self._pipeline, settings, size, self._identity, self._usable_gib)
        except Exception as error:
            return _failure(error)

    def begin(self, job: int, work: Work, served: ServedInput, drafts: Drafts, shared: bool | None) -> Begun | Failure:
        """Prepare for a job. shared: whether there is shared storage, None to find out."""
        try:
            cache = InputCache(served, drafts.folder, f"{self._token}-{job}")
            shares = drafts.is_visible() if shared is None else shared
            if not shares:
                drafts = Drafts(cache_folder() / f"drafts-{self._token}-{job}")
            path: Path | None = served.path
            if shared is False or not served.is_visible():
                path = cache.find()
            self._jobs[job] = BegunJob(work, work.manifest.units(), cache, path, drafts, shares)
        except Exception as error:
            return _failure(error)
        return Begun(path is not None, shares)

    def receive(self, job: int, index: int, piece: Piece, last: bool) -> Failure | None:
        """Take a piece of the input."""
        try:
            cache = self._jobs[job].cache
            cache.receive(index, piece)
            if last:
                cache.complete()
        except Exception as error:
            return _failure(error)
        return None

    def end(self, job: int, discard_input: bool) -> None:
        """Release the job's input, and remove what was kept of it if it is not needed again."""
        begun = self._jobs.pop(job, None)
        if begun is None:
            return
        begun.close()
        begun.cache.close(discard=discard_input)
        if not begun.shares:
            files.remove_folder(begun.drafts.folder)

    # --- during a job ---------------------------------------------------------------------------------------

    def restore(self, job: int, number: int) -> Draft | Dropped | Failure:
        """Restore one unit.

        If it needs what the unit before handed over, this worker has restored that last, sees the job's folder, or has
        been sent it.
        """
        import torch

        if (job, number) in self._dropped:
            self._dropped.discard((job, number))
            return Dropped()
        torch.set_flush_denormal(True)  # holds for a thread, and Ray calls methods from threads of its own
        self._frames_done, self._began_at = 0, time.monotonic()
        try:
            begun = self._jobs[job]
            self._unit = job, begun.units[number]
            return self._restore(begun, self._restorer(begun), begun.units[number])
        except Exception as error:
            return _failure(error)
        finally:
            self._unit = None

    def _restorer(self, begun: BegunJob) -> Restorer:
        """Return the restorer of a job, and release what other jobs hold: memory is needed for one job only."""
        from patchvsr.jobs.frames import FrameSource
        from patchvsr.jobs.restore import Restorer

        for other in list(self._jobs.values()):
            if other is not begun:
                other.close()
        if begun.restorer is None:
            assert begun.path is not None
            frames = FrameSource(begun.path, begun.work.read, begun.work.manifest.scan)
            begun.restorer = Restorer(self._pipeline, replace(begun.work, input=begun.path), frames)
        return begun.restorer

    def _restore(self, begun: BegunJob, restorer: Restorer, unit: Unit) -> Draft:
        notices = []
        segment, handed = begun.drafts.paths(unit.number, self._token)
        steps = restorer.restore(unit, segment, lambda number: _handover(begun, number))
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
        return begun.drafts.finished(
            unit.number, restored.record, segment, None if restored.handover is None else handed,
            notices=tuple(notices), sends=not begun.shares,
        )  # fmt: skip

    # --- files of a job whose folder the worker does not see ------------------------------------------------

    def send(self, job: int, number: int, index: int) -> Piece | Failure:
        """Return a piece of a restored unit, whose files are removed with the last one."""
        try:
            parts = [file for file in self._jobs[job].drafts.paths(number, self._token) if file.exists()]
            pieces = Pieces(parts)
            piece = pieces.read(index)
            if index + 1 == len(pieces):
                for file in parts:
                    file.unlink()
            return piece
        except Exception as error:
            return _failure(error)

    def accept(self, job: int, piece: Piece) -> Failure | None:
        """Take a piece of what a unit has handed over on another worker."""
        try:
            add_piece(piece, self._jobs[job].drafts.folder)
        except Exception as error:
            return _failure(error)
        return None

    # --- at any time ----------------------------------------------------------------------------------------

    def progress(self) -> tuple[int, int, int, float] | None:
        """Return job and number of the unit being restored, its frames done, and the seconds since it was begun."""
        restoring = self._unit
        if restoring is None:
            return None
        return restoring[0], restoring[1].number, self._frames_done, time.monotonic() - self._began_at

    def drop(self, job: int, number: int) -> bool:
        """Give back a unit that is not begun. Returns whether it was."""
        restoring = self._unit
        if restoring is not None and (restoring[0], restoring[1].number) == (job, number):
            return False
        self._dropped.add((job, number))
        return True


def _handover(begun: BegunJob, number: int) -> ClipState:
    """Return what a unit handed over. It is removed if it was sent here."""
    folder = JobFolder(begun.drafts.folder, path=begun.drafts.folder)
    state = folder.read_handover(number)
    if not begun.shares:
        folder.handover_path(number).unlink()
    return state


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
