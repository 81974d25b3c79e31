"""What a job asks of the place where its units are restored: this process, or a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchvsr.events import Event
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.manifest import Manifest
from patchvsr.media.segment import FrameEncoder
from patchvsr.media.settings import ReadSettings
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings, RestoreSettings

# Takes the expected duration of the next unit in seconds, None if unknown. True stops the job before that unit.
Stop = Callable[[float | None], bool]


@dataclass(frozen=True)
class Machine:
    """A loaded model on its device, as planning needs to know it.

    restore: the settings with the model's defaults filled in. chunk_frames: the chunk length that suits its memory.
    warm_up_frames: see `plan.warm_up_frames`.
    identity: what of model, device and versions shapes the output, see `identity.machine_identity`.
    """

    restore: ResolvedSettings
    chunk_frames: int
    warm_up_frames: int | None
    identity: dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What is needed to restore any unit of a job. new_encoder: makes the encoder of a unit."""

    input: Path
    read: ReadSettings
    restore: ResolvedSettings
    size: Size
    manifest: Manifest
    new_encoder: Callable[[], FrameEncoder]


class Engine(ABC):
    """The place where the model runs and the units of a job are restored."""

    @abstractmethod
    def machine(self, settings: RestoreSettings, size: Size, begun_with: dict[str, Any] | None) -> Machine:
        """Return what the job will be computed with.

        begun_with: identity of the machine that began the job, None for a new job. Where there is a choice of machines,
            one of the same identity is chosen.
        """

    @abstractmethod
    def restore(self, work: Work, folder: JobFolder, stop: Stop | None) -> Iterator[Event | None]:
        """Restore the units that are not done in `folder`, in any order that respects what is handed over.

        Returns before all are done only if `stop` says so. Yields None where the job waits for workers: then whoever
        iterates calls `hand_out` and `take_answers`, once for all jobs that wait.
        """

    def hand_out(self) -> bool:
        """Give the workers units of the jobs in flight, the oldest first. Returns whether they could take more."""
        raise NotImplementedError("only an engine with workers lets a job wait for them")

    def take_answers(self, *, wait: bool) -> None:
        """Take what the workers have done. wait: for a moment, until there is something."""
        raise NotImplementedError("only an engine with workers lets a job wait for them")
