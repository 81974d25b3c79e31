"""What happens while a video is upscaled: yielded by `upscale`, shown by the command line, printed as JSON lines."""

from __future__ import annotations

from dataclasses import dataclass

from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class Started:
    """Sizes in pixels; `num_frames` is the container's word, or None, and only good for a progress bar.

    notices: lines for the user, such as streams that the output cannot hold.
    """

    input: str
    output: str
    input_size: Size
    output_size: Size
    num_frames: int | None
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Scanning:
    """Frames of the input that were looked at so far."""

    frames: int


@dataclass(frozen=True)
class Planned:
    """The work, counted: `frames_done` of `frames`, `units_done` of `units` were done by an earlier run."""

    job: str
    frames: int
    shots: int
    units: int
    units_done: int
    frames_done: int


@dataclass(frozen=True)
class Progress:
    """Frames restored so far, those of earlier runs included."""

    frames: int


@dataclass(frozen=True)
class Notice:
    """Something the user should know, in one line."""

    text: str


@dataclass(frozen=True)
class Assembling:
    """All units are done; they and the source's other streams are being put together."""


@dataclass(frozen=True)
class Stopped:
    """`stop` said so, after a whole unit; the same call goes on. No units: it stopped before the work was cut."""

    output: str
    units: int
    units_done: int


@dataclass(frozen=True)
class Finished:
    """The output is complete and was read back: every frame at its time.

    seconds: of this run. already_done: an earlier run had finished it, and nothing was done.
    """

    output: str
    frames: int
    seconds: float
    already_done: bool = False


Event = Started | Scanning | Planned | Progress | Notice | Assembling | Stopped | Finished
