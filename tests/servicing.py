"""What tests of the service share: a service in a process of its own, jobs and uploads by HTTP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import command
from starlette.testclient import TestClient

from patchvsr.service.queue import State


class Served:
    """A real service in a process of its own, which can be killed and started again at the same address."""

    def __init__(self, folder: Path, *options: object) -> None:
        self._words = ("serve", folder, "--data", folder / "data", "--device", "cpu", "--min-free-gib", 0, *options)
        self._port = 0
        self.start()

    def start(self) -> None:
        self._process = command.start(*self._words, "--port", self._port)
        assert self._process.stderr is not None
        line = self._process.stderr.readline().decode()
        found = re.search(r"http://[^/\s]+", line)
        assert found, line
        self.address, self._port = found[0], urlsplit(found[0]).port

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def submit(client: TestClient, path: Path, **fields: Any) -> str:
    """Submit a job and return its id."""
    answer = client.post("/api/jobs", json={"input": str(path), **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def wait_for(client: TestClient, id: str, state: State, *, frames: int = 0) -> dict[str, Any]:
    """Wait until a job is in a state, with that many frames done."""
    service = client.app.state.service

    async def wait() -> None:
        while (job := service.queue.get(id)).state is not state or job.frames_done < frames:
            await service.bell.wait()

    client.portal.call(wait)
    return client.get(f"/api/jobs/{id}").json()


def upload(client: TestClient, name: str, content: bytes) -> Any:
    """Send a whole file and return the last answer."""
    id = client.post("/api/uploads", json={"name": name, "size": len(content)}).json()["id"]
    return client.patch(f"/api/uploads/{id}", content=content, headers={"upload-offset": "0"})


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
