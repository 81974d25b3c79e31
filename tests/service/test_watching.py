"""Videos in a watched folder become jobs once, and nothing else does."""

import os
import shutil
import time
from pathlib import Path

import pytest
from servicing import wait_for

from patchvsr.service import watching
from patchvsr.service.queue import State


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 0.05)


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def jobs(client):
    return client.get("/api/jobs").raise_for_status().json()


def wait_for_jobs(client, count):
    deadline = time.monotonic() + 60
    while len(jobs(client)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for job in jobs(client):
        wait_for(client, job["id"], State.DONE)


def test_videos_become_jobs_once_also_after_a_restart_and_without_their_jobs(serve, video, incoming):
    shutil.copy(video, incoming / "one.mkv")
    (incoming / ".hidden.mkv").write_bytes(video.read_bytes())
    (incoming / "notes.txt").touch()
    with serve(watched=(incoming,)) as client:
        wait_for_jobs(client, 1)
        shutil.copy(video, incoming / "two.mkv")
        wait_for_jobs(client, 2)
        for job in jobs(client):
            client.delete(f"/api/jobs/{job['id']}").raise_for_status()
        time.sleep(0.5)
        assert jobs(client) == []
    with serve(watched=(incoming,)) as client:
        time.sleep(0.5)
        assert jobs(client) == []
    made = sorted(path.name for path in (incoming / "upscaled").iterdir() if path.suffix == ".mkv")
    assert made == ["one.mkv", "two.mkv"]


def test_a_growing_file_waits_until_it_is_whole(serve, video, incoming):
    data = video.read_bytes()
    with serve(watched=(incoming,)) as client, (incoming / "slow.mkv").open("wb") as file:
        for start in range(0, len(data), 1 + len(data) // 20):
            file.write(data[start : start + 1 + len(data) // 20])
            file.flush()
            time.sleep(0.02)
            assert jobs(client) == []
        file.close()
        wait_for_jobs(client, 1)


def test_names_that_differ_by_their_suffix_and_files_that_are_no_video(serve, video, incoming, caplog):
    shutil.copy(video, incoming / "clip.mkv")
    shutil.copy(video, incoming / "clip.mov")
    (incoming / "broken.mkv").write_bytes(b"no video")
    with serve(watched=(incoming,)) as client:
        wait_for_jobs(client, 2)
        time.sleep(0.5)
        assert len(jobs(client)) == 2
        shutil.copy(video, incoming / "broken.mkv")
        wait_for_jobs(client, 3)
    made = sorted(path.name for path in (incoming / "upscaled").iterdir() if path.suffix == ".mkv")
    assert made == ["broken.mkv", "clip.mkv", "clip.mov.mkv"]
    assert [record.levelname for record in caplog.records if "is not upscaled" in record.message] == ["WARNING"]


def test_what_cannot_be_looked_at_does_not_stop_the_others(serve, video, incoming, caplog):
    Path(os.fsdecode(bytes(incoming) + b"/caf\xe9.mkv")).write_bytes(video.read_bytes())
    (incoming / "a.mkv").symlink_to("x" * 300 + ".mkv")
    shutil.copy(video, incoming / f"{'l' * 251}.mkv"[-255:])
    shutil.copy(video, incoming / "50%.mkv")
    with serve(watched=(incoming,)) as client:
        wait_for_jobs(client, 1)
        time.sleep(0.5)
        assert [job["name"] for job in jobs(client)] == ["50%.mkv"]
    assert (incoming / "upscaled" / "50_.mkv").exists()
    warned = [record.message for record in caplog.records if "is not upscaled" in record.message]
    assert len(warned) == 3, warned


def test_an_output_that_leads_elsewhere_by_now_is_not_written(serve, video, folder, tmp_path):
    (folder / "out").mkdir()
    gate = folder / "clip.mkv.go"
    os.mkfifo(gate)
    with serve() as client:
        first = client.post("/api/jobs", json={"input": str(folder / "clip.mkv")}).raise_for_status().json()["id"]
        body = {"input": str(folder / "clip.mkv"), "output": str(folder / "out" / "new.mkv")}
        second = client.post("/api/jobs", json=body).raise_for_status().json()["id"]
        (folder / "out").rmdir()
        (folder / "out").symlink_to(tmp_path)
        gate.write_text("")
        wait_for(client, first, State.DONE)
        assert "leads elsewhere by now" in wait_for(client, second, State.FAILED)["reason"]
    assert not (tmp_path / "new.mkv").exists()


def test_files_wait_while_too_many_jobs_do(serve, video, incoming):
    for name in ("a", "b", "c"):
        shutil.copy(video, incoming / f"{name}.mkv")
    with serve(watched=(incoming,), max_jobs=1) as client:
        wait_for_jobs(client, 3)


def test_the_job_of_a_service_that_was_killed_before_it_noted_the_file(serve, video, incoming):
    shutil.copy(video, incoming / "one.mkv")
    with serve(folders=(incoming,)) as client:
        client.post("/api/jobs", json={"input": str(incoming / "one.mkv")}).raise_for_status()
        wait_for_jobs(client, 1)
    with serve(watched=(incoming,)) as client:
        time.sleep(0.5)
        assert len(jobs(client)) == 1
