"""What tests of the service share: jobs and uploads by HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from patchvsr.service.queue import State


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
