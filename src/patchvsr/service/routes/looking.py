"""What the service offers, and looks at files before a job."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from patchvsr import __version__
from patchvsr.service.bodies import PreviewWish, Source, Wish
from patchvsr.service.places import CONTAINERS
from patchvsr.service.refusals import refusals
from patchvsr.service.routes.common import BAD_BODY, PARTS, Here, Seconds

router = APIRouter(prefix="/api", tags=["look"])
STILL_PX = 1280  # longest side
_FILES = refusals(404, 409)
_LOOKS = refusals(429, 504)


@router.get("/service")
async def service(here: Here) -> dict[str, Any]:
    """Tell what this service offers, and its limits."""
    options = here.options
    return {
        "version": __version__,
        "folders": [str(folder) for folder in options.folders],
        "models": options.offered_models,
        "containers": [suffix.removeprefix(".") for suffix in CONTAINERS],
        "max_jobs": options.max_jobs,
        "max_upload_bytes": options.max_upload_bytes,
        "last_event": here.log.last_number(),
    }


@router.post("/facts", responses=BAD_BODY | _FILES | _LOOKS)
async def facts(body: Source, here: Here) -> dict[str, Any]:
    """Tell what a video is, as `patchvsr info` does."""
    return await here.facts(body)


@router.post("/estimate", responses=BAD_BODY | _FILES | _LOOKS)
async def estimate(body: Wish, here: Here) -> dict[str, Any]:
    """Estimate work, memory, disk and time, as `patchvsr upscale --plan` does. Reads the whole video."""
    return await here.estimate(body)


@router.post("/previews", responses=BAD_BODY | _FILES | _LOOKS)
async def preview(body: PreviewWish, here: Here) -> dict[str, Any]:
    """Restore one moment, as `patchvsr preview` does. `output` is the name of the picture: bicubic | restored."""
    return await here.preview(body)


@router.get("/still", response_class=FileResponse, responses=PARTS | _FILES | _LOOKS | refusals(422))
async def still(here: Here, at: Seconds = 0.0, input: str | None = None, upload: str | None = None) -> FileResponse:
    """Return the first frame of a video at or after a time."""
    return FileResponse(await here.still(Source(input=input, upload=upload), at, STILL_PX))


@router.get("/pictures/{name}", response_class=FileResponse, responses=PARTS | refusals(404, 422))
async def picture(name: str, here: Here) -> FileResponse:
    """Return the picture of a preview."""
    return FileResponse(here.looks.picture(name))
