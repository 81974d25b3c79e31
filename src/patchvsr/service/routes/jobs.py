"""Jobs: submit, follow, stop, go on, delete; their files."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from patchvsr.service.bodies import LARGEST, Move, NewJob
from patchvsr.service.queue import Job, State
from patchvsr.service.refusals import Refused, refusals
from patchvsr.service.routes.common import BAD_BODY, PARTS, Here, Seconds
from patchvsr.service.views import JobView, download_name, view

router = APIRouter(prefix="/api", tags=["jobs"])
THUMBNAIL_PX, STILL_PX = 192, 1920
LastEventId = Annotated[
    int | None, Header(ge=0, le=LARGEST, description="The last event that arrived; a browser sends it by itself.")
]
After = Annotated[int, Query(ge=0, le=LARGEST, description="The last event that is known.")]
_UNKNOWN = refusals(404, 422)
_FILE = PARTS | refusals(404, 409, 410, 422)


async def _known(id: str, here: Here) -> str:
    """Refuse an unknown job before an answer begins."""
    return here.queue.get(id).id


@router.post("/jobs", status_code=201, responses=BAD_BODY | refusals(404, 409, 429, 504, 507))
async def submit(body: NewJob, here: Here) -> JobView:
    """Put a job into the queue. What cannot work is refused now."""
    return view(await here.submit(body))


@router.get("/jobs")
async def all_jobs(here: Here) -> list[JobView]:
    """List all jobs in the order of the queue."""
    return [view(job) for job in here.queue.all()]


@router.get("/jobs/{id}", responses=_UNKNOWN)
async def one(id: str, here: Here) -> JobView:
    """Describe one job."""
    return view(here.queue.get(id))


@router.patch("/jobs/{id}", responses=BAD_BODY | _UNKNOWN)
async def move(id: str, body: Move, here: Here) -> JobView:
    """Change the priority of a job or its place in the queue."""
    here.queue.get(id)
    return view(here.queue.move(id, priority=body.priority, before=body.before))


@router.post("/jobs/{id}/pause", responses=_UNKNOWN | refusals(409))
async def pause(id: str, here: Here) -> JobView:
    """Pause a job. A running one finishes its unit first."""
    return view(await here.pause(id))


@router.post("/jobs/{id}/resume", responses=_UNKNOWN | refusals(409, 429, 507))
async def resume(id: str, here: Here) -> JobView:
    """Let a paused, failed or cancelled job go on where it was."""
    return view(here.resume(id))


@router.post("/jobs/{id}/cancel", responses=_UNKNOWN | refusals(409))
async def cancel(id: str, here: Here) -> JobView:
    """Stop a job at once. Finished units are kept until it is deleted."""
    return view(await here.cancel(id))


@router.delete("/jobs/{id}", status_code=204, responses=_UNKNOWN)
async def delete(id: str, here: Here) -> Response:
    """Remove a job, its upload and its result; not an output that was written to a path of the client's choice."""
    await here.delete(id)
    return Response(status_code=204)


@router.get("/events", response_class=EventSourceResponse, responses=refusals(422))
async def events(here: Here, after: After = 0, last_event_id: LastEventId = None) -> AsyncIterator[ServerSentEvent]:
    """Follow all jobs, from any event on."""
    async for event in here.log.follow(after if last_event_id is None else last_event_id):
        yield ServerSentEvent(data=event.data, id=str(event.number))


@router.get("/jobs/{id}/events", response_class=EventSourceResponse, responses=_UNKNOWN)
async def events_of_one(
    id: Annotated[str, Depends(_known)], here: Here, after: After = 0, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Follow one job, from any event on. Ends when the job is deleted."""
    async for event in here.log.follow(after if last_event_id is None else last_event_id, id):
        yield ServerSentEvent(data=event.data, id=str(event.number))
        if event.data["event"] == "deleted":
            return


@router.get("/jobs/{id}/output", response_class=FileResponse, responses=_FILE)
async def output(id: str, here: Here) -> FileResponse:
    """Download the result, whole or in ranges."""
    job = _done(here.queue.get(id))
    return FileResponse(_existing(Path(job.output), job), filename=download_name(job))


@router.get("/jobs/{id}/input", response_class=FileResponse, responses=_FILE)
async def input(id: str, here: Here) -> FileResponse:
    """Download the input, whole or in ranges."""
    job = here.queue.get(id)
    kind = mimetypes.guess_type(job.name)[0]
    return FileResponse(_existing(here.input_of(job), job), filename=job.name, media_type=kind)


@router.get("/jobs/{id}/report", response_class=FileResponse, responses=_FILE)
async def report(id: str, here: Here) -> FileResponse:
    """Return the report of a finished job."""
    job = _done(here.queue.get(id))
    path = Path(f"{job.output}.report.json")
    return FileResponse(_existing(path, job), media_type="application/json")


@router.get("/jobs/{id}/thumbnail", response_class=FileResponse, responses=_FILE | refusals(429, 504))
async def thumbnail(id: str, here: Here) -> FileResponse:
    """Return a small picture of the input."""
    job = here.queue.get(id)
    at_s = (job.settings.get("start_s") or 0.0) or (job.look["duration_s"] or 0.0) / 3
    return FileResponse(await here.looks.still(here.input_of(job), at_s, THUMBNAIL_PX))


@router.get("/jobs/{id}/still", response_class=FileResponse, responses=_FILE | refusals(429, 504))
async def still(id: str, side: Literal["before", "after"], here: Here, at: Seconds = 0.0) -> FileResponse:
    """Return one frame, for browsers that cannot play the file. at: seconds from the first frame of the output."""
    job = here.queue.get(id)
    if side == "before":
        return FileResponse(
            await here.looks.still(here.input_of(job), at + (job.settings.get("start_s") or 0.0), STILL_PX)
        )
    return FileResponse(await here.looks.still(_existing(Path(_done(job).output), job), at, STILL_PX))


def _done(job: Job) -> Job:
    if job.state is not State.DONE:
        raise Refused(409, f"job {job.id} is {job.state}: wait until it is done")
    return job


def _existing(path: Path, job: Job) -> Path:
    if not path.is_file():
        raise Refused(410, f"a file of job {job.id} is gone: it was moved or removed on the server")
    return path
