"""Uploads in pieces, and those that are refused."""

import pytest
from servicing import files_in, submit, upload, wait_for

from patchvsr.service.queue import State


def test_an_upload_goes_on_where_it_was(serve, video, tmp_path):
    content = video.read_bytes()
    half = len(content) // 2
    with serve() as client:
        known = {"name": "Ein Film ä.mkv", "size": len(content), "modified": 1_795_855_430_703}
        id = client.post("/api/uploads", json=known).json()["id"]
        answer = client.patch(f"/api/uploads/{id}", content=content[:half], headers={"upload-offset": "0"})
        assert answer.json()["offset"] == half
    with serve() as client:
        assert client.get(f"/api/uploads/{id}").json() == known | {"id": id, "offset": half}
        early = client.post("/api/jobs", json={"upload": id})
        assert early.status_code == 409 and f"{half} of {len(content)}" in early.json()["detail"]
        wrong = client.patch(f"/api/uploads/{id}", content=content, headers={"upload-offset": "0"})
        assert wrong.status_code == 409 and str(half) in wrong.json()["detail"]
        answer = client.patch(f"/api/uploads/{id}", content=content[half:], headers={"upload-offset": str(half)})
        assert answer.json()["facts"]["width"] == 64
        (arrived,) = files_in(tmp_path / "data" / "uploads")
        assert (tmp_path / "data" / "uploads" / arrived).read_bytes() == content


def test_an_upload_becomes_a_job_and_goes_with_it(client, video, tmp_path):
    id = upload(client, "Ein Film ä.mkv", video.read_bytes()).json()["id"]
    job = client.post("/api/jobs", json={"upload": id, "container": "mp4"}).json()
    assert job["name"] == "Ein Film ä.mkv"
    assert wait_for(client, job["id"], State.DONE)["download"] == "Ein Film ä_256x192.mp4"
    assert client.get("/api/uploads").json() == []  # none that no job uses
    assert client.delete(f"/api/uploads/{id}").status_code == 409
    client.delete(f"/api/jobs/{job['id']}")
    assert files_in(tmp_path / "data" / "uploads") == files_in(tmp_path / "data" / "jobs") == []


def test_what_is_no_video_is_removed(client, tmp_path):
    answer = upload(client, "film.mkv", b"not a video" * 100)
    assert answer.status_code == 422
    assert "film.mkv: not a readable media file" in answer.json()["detail"] and "\n" not in answer.json()["detail"]
    assert str(tmp_path) not in answer.json()["detail"]  # the name of the client instead
    assert client.get("/api/uploads").json() == []
    assert files_in(tmp_path / "data" / "uploads") == []


@pytest.mark.parametrize(
    ("name", "size", "status", "reason"),
    [
        ("film.mkv", 10**6 + 1, 413, "at most"),
        ("film.mkv", 0, 422, "empty"),
        ("../film.mkv", 10, 422, "slashes"),
        ("..\\film.mkv", 10, 422, "slashes"),
        ("film\0.mkv", 10, 422, "name"),
        ("x" * 300, 10, 422, "200"),
        ("", 10, 422, "name"),
    ],
)
def test_bad_uploads_are_refused_before_they_begin(serve, tmp_path, name, size, status, reason):
    with serve(max_upload_bytes=10**6) as client:
        answer = client.post("/api/uploads", json={"name": name, "size": size})
        assert (answer.status_code, reason in answer.json()["detail"]) == (status, True)
        assert files_in(tmp_path / "data" / "uploads") == []


def test_more_than_announced_is_refused_and_not_kept(client, video):
    id = client.post("/api/uploads", json={"name": "a.mkv", "size": 10}).json()["id"]
    answer = client.patch(f"/api/uploads/{id}", content=bytes(11), headers={"upload-offset": "0"})
    assert answer.status_code == 413
    assert client.get(f"/api/uploads/{id}").json()["offset"] == 0


def test_a_full_disk_is_kept_from_being_fuller(serve, folder, tmp_path):
    with serve(min_free_bytes=2**60) as client:
        assert client.post("/api/uploads", json={"name": "a.mkv", "size": 10}).status_code == 507
        answer = client.post("/api/jobs", json={"input": str(folder / "clip.mkv")})
        assert answer.status_code == 507 and "free" in answer.json()["detail"]
        assert files_in(tmp_path / "data" / "jobs") == files_in(tmp_path / "data" / "uploads") == []


def test_a_cancelled_upload_leaves_nothing(client, tmp_path):
    id = client.post("/api/uploads", json={"name": "a.mkv", "size": 10}).json()["id"]
    client.patch(f"/api/uploads/{id}", content=bytes(5), headers={"upload-offset": "0"})
    assert client.delete(f"/api/uploads/{id}").status_code == 204
    assert client.get(f"/api/uploads/{id}").status_code == 404
    assert files_in(tmp_path / "data" / "uploads") == []


def test_a_job_by_path_leaves_uploads_alone(client, folder):
    id = client.post("/api/uploads", json={"name": "a.mkv", "size": 10}).json()["id"]
    job = submit(client, folder / "clip.mkv")
    wait_for(client, job, State.DONE)
    client.delete(f"/api/jobs/{job}")
    assert client.get(f"/api/uploads/{id}").status_code == 200
