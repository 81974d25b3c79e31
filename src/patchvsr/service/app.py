"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from patchvsr import __version__
from patchvsr.errors import PatchVSRError
from patchvsr.service.guard import Guard
from patchvsr.service.limits import Limits
from patchvsr.service.options import ServiceOptions
from patchvsr.service.refusals import Refused, refusals
from patchvsr.service.routes import jobs, looking, uploading
from patchvsr.service.service import Service
from patchvsr.web import STATIC


def build_app(options: ServiceOptions) -> FastAPI:
    """Build the application. It works while its lifespan lasts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Service.running(options) as app.state.service:
            yield

    app = FastAPI(
        title="PatchVSR",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        # The pages that show it load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        responses=refusals(401, 403, 421),
        exception_handlers={PatchVSRError: _refused, RequestValidationError: _invalid},
    )
    for part in (looking, uploading, jobs):
        app.include_router(part.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(Limits)
    app.add_middleware(Guard, options=options)
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer by one line and the status that the error has."""
    status = error.status if isinstance(error, Refused) else 422
    return JSONResponse({"detail": " ".join(str(error).splitlines())}, status)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return JSONResponse({"detail": f"{where or 'the request'}: {first['msg'].lower()}; see /api/openapi.json"}, 422)
