"""Serve over HTTP until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from patchvsr.errors import SettingsError
from patchvsr.service.app import build_app
from patchvsr.service.folders import locked
from patchvsr.service.options import ServiceOptions

_LAST_ANSWERS_S = 1  # after Ctrl-C; pages that follow events would be waited for without an end


def serve(options: ServiceOptions, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. `say` gets the address once connections are accepted."""
    with locked(options.data), _listener(options.host, options.port) as listener:
        _serve(options, listener, say)


def _serve(options: ServiceOptions, listener: socket.socket, say: Callable[[str], None]) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(options),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
        )
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    entrance = f"?token={options.token}" if options.token else ""
    say(f"http://{host}:{listener.getsockname()[1]}/{entrance}")
    server.run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(f"{host}:{port} cannot be used ({error.strerror}): choose another --port") from error
