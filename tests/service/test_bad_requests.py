"""Hundreds of bad requests: each is refused as the interface describes it, and none leaves anything behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hostile import as_request, check_answer, generated_requests, own_requests, tree, without_token
from servicing import files_in, submit, wait_for
from starlette.testclient import TestClient

from patchvsr.service.queue import State

TOKEN = "a-token-of-this-test"


@pytest.fixture
def known(client, folder, tmp_path) -> Iterator[dict[str, str]]:
    """What exists while requests are made. In the end the service works, and holds nothing that they have left."""
    (tmp_path / "secret.mkv").write_bytes((folder / "clip.mkv").read_bytes())
    (folder / "link.mkv").symlink_to(tmp_path / "secret.mkv")
    os.mkfifo(folder / "clip.mkv.go")  # the job does not end
    job = submit(client, folder / "clip.mkv")
    wait_for(client, job, State.RUNNING, frames=1)
    upload = client.post("/api/uploads", json={"name": "a.mkv", "size": 10}).json()["id"]
    before = tree(tmp_path, without="data")
    yield {"clip": str(folder / "clip.mkv"), "job": job, "upload": upload}
    assert tree(tmp_path, without="data") == before
    for what in ("jobs", "uploads"):
        for one in client.get(f"/api/{what}").json():
            assert client.delete(f"/api/{what}/{one['id']}").status_code == 204
    assert files_in(tmp_path / "data" / "jobs") == files_in(tmp_path / "data" / "uploads") == []
    assert {path.name.split(".")[0] for path in (tmp_path / "data").iterdir()} <= {
        "jobs", "uploads", "pictures", "service", "looks",
    }  # fmt: skip
    (folder / "clip.mkv.go").unlink()
    wait_for(client, submit(client, folder / "clip.mkv"), State.DONE)


@pytest.fixture
def subnormal_numbers() -> Iterator[None]:
    """Hypothesis insists on them; other tests are faster without."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(True)


@pytest.mark.slow
def test_bad_requests_are_refused_and_leave_nothing(client, folder, known):
    """Those about settings are left out, as each asks a command: test_submitting.py and benchmarks/bad_requests.py."""
    sent = 0
    for bad in own_requests(folder, known["job"], known["upload"]):
        if bad.about != "settings":
            answer = client.request(bad.method, bad.path, **bad.given)
            assert answer.status_code in bad.statuses, (bad, answer.text)
            assert answer.status_code < 400 or "\n" not in answer.text.strip()
            sent += 1
    assert sent > 300


def test_nothing_is_answered_without_the_token(serve):
    with serve(token=TOKEN) as client:
        for bad in without_token("none"):
            assert client.request(bad.method, bad.path, **bad.given).status_code in bad.statuses, bad


@pytest.mark.slow
@pytest.mark.usefixtures("subnormal_numbers")
def test_every_answer_is_one_that_the_interface_describes(client: TestClient, known):
    statuses = []

    def send(case) -> None:
        answer = client.request(**as_request(case, str(client.base_url)))
        check_answer(case, answer)
        statuses.append(answer.status_code)

    generated_requests(client.get("/api/openapi.json").json(), 2, known, send)
    assert len(statuses) > 40 and {200, 404, 422} <= set(statuses)


def test_an_answer_that_is_not_described_is_noticed(client):
    import schemathesis

    spec = client.get("/api/openapi.json").json()
    del spec["paths"]["/api/jobs/{id}"]["get"]["responses"]["404"]
    case = schemathesis.openapi.from_dict(spec)["/api/jobs/{id}"]["GET"].Case(path_parameters={"id": "none"})
    with pytest.raises(BaseException, match="Undocumented"):
        check_answer(case, client.request(**as_request(case, str(client.base_url))))


def test_a_folder_that_changes_is_noticed(tmp_path: Path):
    before = tree(tmp_path, without="data")
    (tmp_path / "data").mkdir()
    assert tree(tmp_path, without="data") == before
    (tmp_path / "left").touch()
    assert tree(tmp_path, without="data") != before
