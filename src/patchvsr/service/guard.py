"""Let requests in only from this service's own page and from programs that know the token."""

from __future__ import annotations

import hashlib
import hmac
import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from patchvsr.service.options import ServiceOptions, is_address

COOKIE = "patchvsr"
_HEADERS = {
    # Nothing is loaded from elsewhere and nobody else shows this page in a frame.
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware. It refuses with one line before anything of the request is read.

    Host: a page of any site can make its own name point to 127.0.0.1 (DNS rebinding) and would then be of one origin
    with this service. It cannot do so with an address, with `localhost` or with a name of ours.
    Origin, Sec-Fetch-Site: a browser says which page a request comes from. Only ours may send any, besides links to it.
    """

    def __init__(self, app: ASGIApp, options: ServiceOptions) -> None:
        self._app, self._options = app, options
        self._key = None if options.token is None else hashlib.sha256(options.token.encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._foreign(scope, headers)
        if refusal is None and self._enters(scope):
            await _redirect(send, f"{COOKIE}={self._key}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000")
            return
        if refusal is None and not self._is_known(headers):
            refusal = 401, "a token is needed: open the address that `patchvsr serve` has printed, or send it as Bearer"
        if refusal is not None:
            await _refuse(send, *refusal)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_encoded(_HEADERS)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _foreign(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        name = _hostname(host)
        if name is None or not (is_address(name) or name in ("localhost", *self._options.names)):
            return 421, f"host {host!r} is not this service: use its address, or start it with --name {name}"
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host.lower():
            return 403, f"requests from pages of {origin} are refused"
        is_link = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
            return 403, "requests from pages of other sites are refused"
        return None

    def _enters(self, scope: Scope) -> bool:
        """Return whether this is the printed address, with the right token. It is exchanged for a cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return bool(self._key and given and scope["path"] == "/" and self._is_token(given[0]))

    def _is_known(self, headers: dict[str, str]) -> bool:
        if self._key is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._key.encode())

    def _is_token(self, text: str) -> bool:
        assert self._key is not None
        return hmac.compare_digest(hashlib.sha256(text.encode()).hexdigest(), self._key)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place(origin: str) -> str | None:
    """Return host and port of an origin, None if it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


async def _redirect(send: Send, cookie: str) -> None:
    headers = {"location": "/", "set-cookie": cookie, "cache-control": "no-store"} | _HEADERS
    await send({"type": "http.response.start", "status": 303, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"} | _HEADERS
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
