"""Share what routes need."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from patchvsr.service.refusals import refusals
from patchvsr.service.service import Service

Seconds = Annotated[float, Query(ge=0, allow_inf_nan=False, description="Seconds from the first frame.")]
BAD_BODY = refusals(400, 413, 422)  # of every route that takes one
# What a file is answered with, besides the whole of it.
PARTS: dict[int | str, dict[str, Any]] = {
    206: {"description": "The part that was asked for."},
    400: {"description": "The range cannot be read."},
    416: {"description": "No such range."},
}


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]
