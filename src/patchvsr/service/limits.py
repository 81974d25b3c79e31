"""Refuse bodies that are larger than any honest one before they fill the memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LARGEST_BODY = 2**20  # bytes; of JSON, as uploads are written to the disk as they come


class Limits:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "PATCH" and scope["path"].startswith("/api/uploads/")):
            await self._app(scope, receive, send)
            return
        arrived = 0

        async def receive_some() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > _LARGEST_BODY:
                raise HTTPException(413, f"the body has more than {_LARGEST_BODY} bytes: send less")
            return message

        await self._app(scope, receive_some, send)
