"""Jobs as clients see them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from patchvsr.service.queue import Job, State


def view(job: Job) -> dict[str, Any]:
    """Describe a job as JSON, with its speed and the time left. Paths of the service's own folders are left out."""
    shown = (
        "id", "name", "upload", "settings", "state", "wanted", "priority", "device", "reason", "phase", "frames",
        "frames_done", "submitted_at", "started_at", "finished_at",
    )  # fmt: skip
    fps = _frames_per_second(job)
    left = None if not fps or job.frames is None else (job.frames - job.frames_done) / fps
    return {name: getattr(job, name) for name in shown} | {
        "phase": job.phase if job.state is State.RUNNING else None,
        "frames_per_second": fps,
        "seconds_left": left,
        "download": download_name(job),
        "input_size": [job.look["width"], job.look["height"]],
        "output_size": job.look["output_size"],
        "rotation": job.look["rotation"],
        "start_s": job.settings.get("start_s") or 0.0,
        "output_duration_s": _output_duration_s(job),
        "notices": job.look["notices"],
    }


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
