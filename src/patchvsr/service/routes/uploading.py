"""Uploads in pieces."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.requests import ClientDisconnect

from patchvsr.service.bodies import NewUpload
from patchvsr.service.refusals import refusals
from patchvsr.service.routes.common import BAD_BODY, Here
from patchvsr.service.uploads import Upload

router = APIRouter(prefix="/api/uploads", tags=["uploads"])
_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.post("", status_code=201, responses=BAD_BODY | refusals(429, 507))
async def begin(body: NewUpload, here: Here) -> dict[str, Any]:
    """Announce a file. Send it with PATCH."""
    return _view(here.uploads.begin(body.name, body.size, body.modified))


@router.get("")
async def waiting(here: Here) -> list[dict[str, Any]]:
    """List the uploads that no job uses yet, whole or not."""
    used = {job.upload for job in here.queue.all()}
    return [_view(upload) for upload in here.uploads.all() if upload.id not in used]


@router.get("/{id}", responses=refusals(404, 422))
async def one(id: str, here: Here) -> dict[str, Any]:
    """Tell how much has arrived."""
    return _view(here.uploads.get(id))


@router.patch("/{id}", responses=refusals(404, 409, 413, 422, 429, 504), openapi_extra={"requestBody": _BYTES})
async def send(id: str, request: Request, here: Here, upload_offset: Annotated[int, Header()]) -> dict[str, Any]:
    """Send the bytes from `Upload-Offset` on, all or some, as the plain body.

    After the last byte the file is looked at: the answer has its facts, and a file that is no video is removed.
    """
    try:
        upload = await here.uploads.receive(id, upload_offset, request.stream())
    except ClientDisconnect:
        return {}  # nobody reads this
    return _view(upload) | ({"facts": await here.received(id)} if upload.complete else {})


@router.delete("/{id}", status_code=204, responses=refusals(404, 409, 422))
async def delete(id: str, here: Here) -> Response:
    """Remove an upload that no job uses."""
    here.delete_upload(id)
    return Response(status_code=204)


def _view(upload: Upload) -> dict[str, Any]:
    shown = ("id", "name", "size", "modified", "offset")
    return {name: getattr(upload, name) for name in shown}
