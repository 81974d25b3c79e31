"""The real service in a process of its own, killed in the middle of a real job.

Most of the time is spent on loading libraries: twice, as the job is killed with the service and begins again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import command
import httpx
import pytest
from clips import read_timed
from jobfiles import make_shots
from servicing import Served

from patchvsr.presets import save_preset
from patchvsr.settings import UpscaleSettings

# Units of 9 frames, of which the video has four; so large that even this model leaves seconds to kill the job in.
SETTINGS = UpscaleSettings.of(model="fast", scale=6.0, chunk_frames=5, unit_frames=9)


@contextmanager
def _serving(folder: Path) -> Iterator[httpx.Client]:
    """A client of a service that is killed at the end of the block."""
    served = Served(folder, "--preset", folder / "small.toml")
    try:
        with httpx.Client(base_url=served.address, timeout=command.HANGS_AFTER_S) as client:
            yield client
    finally:
        served.kill()


def _follow(client: httpx.Client, id: str, last: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The events of a job as a browser gets them that connects again: numbers and data."""
    with client.stream("GET", f"/api/jobs/{id}/events", headers={"last-event-id": str(last)}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        data: dict[str, Any] = {}
        for line in answer.iter_lines():
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
            if line.startswith("id: "):
                yield int(line.removeprefix("id: ")), data


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.slow
def test_a_killed_service_goes_on_and_ends_with_the_same_bytes(tmp_path, patchvsr):
    source = make_shots(tmp_path / "in.mkv")
    save_preset(SETTINGS, tmp_path / "small.toml")
    whole = tmp_path / "whole.mkv"
    done = patchvsr("upscale", source, "-o", whole, "--preset", tmp_path / "small.toml", "--device", "cpu")
    assert done.returncode == 0, done.stderr

    seen: list[tuple[int, dict[str, Any]]] = []
    with _serving(tmp_path) as client:
        id = client.post("/api/jobs", json={"input": str(source)}).raise_for_status().json()["id"]
        units = tmp_path / "data" / "jobs" / id / "output.mkv.job"
        for event in _follow(client, id, 0):
            seen.append(event)
            if (units / "unit-00000.json").exists():  # something to go on from
                break
    assert not (units / "result.json").exists()

    with _serving(tmp_path) as client:
        for event in _follow(client, id, seen[-1][0]):
            seen.append(event)
            if event[1].get("state") == "done":
                break
        job = client.get(f"/api/jobs/{id}").json()
        assert (job["state"], job["frames_done"]) == ("done", 34)
        output = client.get(f"/api/jobs/{id}/output").content
        assert _sha256(output) == _sha256(whole.read_bytes())
        parts = [
            client.get(f"/api/jobs/{id}/output", headers={"range": f"bytes={start}"}).content
            for start in ("0-999", "1000-")
        ]
        assert b"".join(parts) == output
        report = client.get(f"/api/jobs/{id}/report").json()
        assert report["job"]["frames"] == report["measures"]["frames"] == 34
        after = client.get(f"/api/jobs/{id}/still", params={"side": "after", "at": 0.4})
        assert after.headers["content-type"] == "image/jpeg"

        # Nothing was missed or told twice, and the second run went on after the units of the first.
        numbers = [number for number, _ in seen]
        assert numbers == sorted(set(numbers))
        stored = [number for number, _ in _until_done(_follow(client, id, 0))]
        assert set(stored) <= set(numbers)
        planned = [data for _, data in seen if data["event"] == "planned"]
        assert [data["units"] for data in planned] == [4, 4]
        assert planned[0]["units_done"] == 0 < planned[1]["units_done"]

        assert client.delete(f"/api/jobs/{id}").status_code == 204
    assert not units.parent.exists()
    assert len(read_timed(source)) == 34


def _until_done(events: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for event in events:
        yield event
        if event[1].get("state") == "done":
            return
