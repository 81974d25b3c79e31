"""Share what routes need."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from patchvsr.service.service import Service


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]
