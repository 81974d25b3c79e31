"""Events of an upscale: yielded by `upscale`, shown by the command line, printed as JSON lines."""

from __future__ import annotations

from dataclasses import dataclass

from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class Started:
    """Input and output are checked. Sizes are in pixels.

    num_frames: expected from the container's metadata, None if unknown; only for a progress bar.
    notices: lines for the user, for example about streams that the output cannot hold.
    """

    input: str
    output: str
    input_size: Size
    output_size: Size
    num_frames: int | None
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Scanning:
    """Number of input frames scanned so far."""

    frames: int


@dataclass(frozen=True)
class Planned:
    """The work is planned. units_done, frames_done: finished by earlier runs."""

    job: str
    frames: int
    shots: int
    units: int
    units_done: int
    frames_done: int


@dataclass(frozen=True)
class Progress:
    """Number of frames restored so far, including those of earlier runs."""

    frames: int


@dataclass(frozen=True)
class Notice:
    """One line of information for the user."""

    text: str


@dataclass(frozen=True)
class WorkerJoined:
    """A worker of a cluster has loaded the model. device: its kind, see `compute.device_kind`."""

    worker: str
    node: str
    device: str


@dataclass(frozen=True)
class WorkerLeft:
    """A worker was lost or refused; its unit goes to another one."""

    worker: str
    node: str
    reason: str


@dataclass(frozen=True)
class WorkerState:
    """What a worker does now. unit: None if it has none. frames: restored of it. frames_per_s: None if unknown."""

    worker: str
    node: str
    device: str
    unit: int | None
    frames: int
    frames_per_s: float | None


@dataclass(frozen=True)
class Workers:
    """What the workers of a cluster that restore units of this job do now. left_s: for the whole job, if known.

    With the oldest job in flight also those that have no unit. frames_per_s: of all together, for this job.
    """

    workers: tuple[WorkerState, ...]
    frames_per_s: float
    left_s: float | None


@dataclass(frozen=True)
class Assembling:
    """All units are done and are being muxed with the other streams of the source."""


@dataclass(frozen=True)
class Stopped:
    """Stopped between units because `stop` returned True; the same call resumes. units: 0 if not planned yet."""

    output: str
    units: int
    units_done: int


@dataclass(frozen=True)
class Finished:
    """The output is complete and was read back to check every frame and its time.

    seconds: duration of this run. already_done: an earlier run had finished it, so nothing was done.
    """

    output: str
    frames: int
    seconds: float
    already_done: bool = False


Event = (
    Started
    | Scanning
    | Planned
    | Progress
    | Notice
    | WorkerJoined
    | WorkerLeft
    | Workers
    | Assembling
    | Stopped
    | Finished
)
