"""Jobs as clients see them: with their speed and the time left, without the paths of the service's own folders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from patchvsr.service.queue import Job, State


class JobView(BaseModel):
    """A job."""

    id: str
    name: str = Field(description="Name of the input.")
    upload: str | None
    settings: dict[str, Any] = Field(description="What the client gave; the rest is the service's.")
    state: State
    wanted: State | None = Field(description="The state that a running job is stopping for.")
    priority: int
    device: str | None
    reason: str | None = Field(description="Why it failed.")
    phase: str | None = Field(description="What a running job does.")
    frames: int | None = Field(description="Expected until the input is scanned, then exact.")
    frames_done: int
    frames_per_second: float | None = Field(description="Of this run, while it restores.")
    seconds_left: float | None
    submitted_at: float = Field(description="Seconds since 1970, as all times.")
    started_at: float | None
    finished_at: float | None
    download: str = Field(description="Name of the output as a download.")
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    rotation: int
    start_s: float
    output_duration_s: float | None
    notices: list[str] = Field(description="What the output does not keep.")


def view(job: Job) -> JobView:
    fps = _frames_per_second(job)
    stored = {name: value for name, value in vars(job).items() if name in JobView.model_fields}
    computed = {
        "phase": job.phase if job.state is State.RUNNING else None,
        "frames_per_second": fps,
        "seconds_left": None if not fps or job.frames is None else (job.frames - job.frames_done) / fps,
        "download": download_name(job),
        "input_size": (job.look["width"], job.look["height"]),
        "output_size": job.look["output_size"],
        "rotation": job.look["rotation"],
        "start_s": job.settings.get("start_s") or 0.0,
        "output_duration_s": _output_duration_s(job),
        "notices": job.look["notices"],
    }
    return JobView(**stored | computed)


def download_name(job: Job) -> str:
    """Return the name of the output for a download: film_3840x2160.mkv."""
    width, height = job.look["output_size"]
    return f"{Path(job.name).stem}_{width}x{height}{Path(job.output).suffix}"


def _output_duration_s(job: Job) -> float | None:
    """Return how long the output is, None if the input does not tell."""
    ends = [end for end in (job.settings.get("end_s"), job.look["duration_s"]) if end is not None]
    return max(0.0, min(ends) - (job.settings.get("start_s") or 0.0)) if ends else None


def _frames_per_second(job: Job) -> float | None:
    """Return the speed of this run, None unless it restores."""
    if job.state is not State.RUNNING or job.phase != "restoring" or job.planned_at is None:
        return None
    done = job.frames_done - (job.planned_done or 0)
    return done / max(1e-3, time.time() - job.planned_at) if done > 0 else None
