"""Jobs run in their order, stop, go on, fail and are deleted."""

import os
import socket

import psutil
import pytest
from servicing import files_in, submit, wait_for

from patchvsr.service import commands
from patchvsr.service.queue import State


@pytest.fixture
def gate(folder):
    """Make jobs of clip.mkv wait."""
    path = folder / "clip.mkv.go"
    os.mkfifo(path)
    return path


def test_a_job_runs_and_its_files_can_be_fetched(client, folder):
    id = submit(client, folder / "clip.mkv", settings={"scale": 2})
    job = wait_for(client, id, State.DONE)
    assert (job["frames_done"], job["reason"], job["output_size"]) == (9, None, [128, 96])
    answer = client.get(f"/api/jobs/{id}/output")
    assert answer.content == bytes(range(200))
    assert "clip_128x96.mkv" in answer.headers["content-disposition"]
    assert client.get(f"/api/jobs/{id}/report").json() == {"job": {"frames": 9}}
    assert client.get(f"/api/jobs/{id}/input").content == (folder / "clip.mkv").read_bytes()
    kinds = [event.data["event"] for event in client.app.state.service.log.after(0, id)]
    assert kinds == ["state", "state", "started", "planned", "progress", "assembling", "finished", "state"]


def test_a_result_is_downloaded_in_ranges(client, folder):
    id = submit(client, folder / "clip.mkv")
    wait_for(client, id, State.DONE)
    for range_, content in (("0-9", range(10)), ("190-", range(190, 200)), ("-5", range(195, 200))):
        answer = client.get(f"/api/jobs/{id}/output", headers={"range": f"bytes={range_}"})
        assert (answer.status_code, answer.content) == (206, bytes(content))
    assert client.get(f"/api/jobs/{id}/output", headers={"range": "bytes=900-"}).status_code == 416


def test_the_queue_is_worked_off_by_priority(client, folder, gate):
    (folder / "other.mkv").write_bytes((folder / "clip.mkv").read_bytes())
    first = submit(client, folder / "clip.mkv")
    wait_for(client, first, State.RUNNING, frames=1)
    low, normal, high = (submit(client, folder / "other.mkv", priority=priority) for priority in (-1, 0, 1))
    gate.write_text("done")
    wait_for(client, low, State.DONE)
    log = client.app.state.service.log
    ran = [event.data["job"] for event in log.after(0) if event.data.get("state") == "running"]
    assert ran == [first, high, normal, low]


def test_a_running_job_is_paused_and_goes_on(client, folder, gate):
    id = submit(client, folder / "clip.mkv")
    wait_for(client, id, State.RUNNING, frames=1)
    assert client.post(f"/api/jobs/{id}/pause").json()["wanted"] == "paused"
    wait_for(client, id, State.PAUSED)
    gate.unlink()
    client.post(f"/api/jobs/{id}/resume")
    wait_for(client, id, State.DONE)


def test_a_waiting_job_is_paused_and_cancelled_at_once(client, folder, gate):
    running, waiting = (submit(client, folder / "clip.mkv") for _ in range(2))
    wait_for(client, running, State.RUNNING, frames=1)
    assert client.post(f"/api/jobs/{waiting}/pause").json()["state"] == "paused"
    assert client.post(f"/api/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/jobs/{waiting}/pause").status_code == 409
    assert client.post(f"/api/jobs/{running}/resume").status_code == 409


def test_a_running_job_is_cancelled_and_others_go_on(client, folder, gate):
    first = submit(client, folder / "clip.mkv")
    wait_for(client, first, State.RUNNING, frames=1)
    (folder / "other.mkv").write_bytes((folder / "clip.mkv").read_bytes())
    second = submit(client, folder / "other.mkv")
    client.post(f"/api/jobs/{first}/cancel")
    wait_for(client, first, State.CANCELLED)
    wait_for(client, second, State.DONE)


def test_a_failed_job_says_why_and_can_be_tried_again(client, folder, gate):
    id = submit(client, folder / "clip.mkv")
    wait_for(client, id, State.RUNNING, frames=1)
    gate.write_text("fail")
    assert wait_for(client, id, State.FAILED)["reason"] == "frame 3 is wrong"
    assert client.get(f"/api/jobs/{id}/output").status_code == 409
    gate.unlink()
    client.post(f"/api/jobs/{id}/resume")
    assert wait_for(client, id, State.DONE)["reason"] is None


def test_a_killed_command_fails_its_job_only(client, folder, gate):
    id = submit(client, folder / "clip.mkv")
    wait_for(client, id, State.RUNNING, frames=1)
    (command,) = (child for child in psutil.Process().children() if str(folder / "clip.mkv") in child.cmdline())
    command.kill()
    assert "signal 9" in wait_for(client, id, State.FAILED)["reason"]
    gate.unlink()
    client.post(f"/api/jobs/{id}/resume")
    wait_for(client, id, State.DONE)


def test_a_running_job_is_deleted_with_its_files(client, folder, gate, tmp_path):
    id = submit(client, folder / "clip.mkv")
    wait_for(client, id, State.RUNNING, frames=1)
    assert client.delete(f"/api/jobs/{id}").status_code == 204
    assert client.get(f"/api/jobs/{id}").status_code == 404
    assert files_in(tmp_path / "data" / "jobs") == []
    assert (folder / "clip.mkv").exists()  # the user's own file
    gate.unlink()
    wait_for(client, submit(client, folder / "clip.mkv"), State.DONE)  # the worker is still there


def test_an_output_in_the_users_folder_stays_when_its_job_is_deleted(client, folder):
    id = submit(client, folder / "clip.mkv", output=str(folder / "large.mp4"))
    wait_for(client, id, State.DONE)
    client.delete(f"/api/jobs/{id}")
    assert (folder / "large.mp4").read_bytes() == bytes(range(200))


def test_two_jobs_do_not_have_one_output(client, folder, gate):
    submit(client, folder / "clip.mkv", output=str(folder / "large.mp4"))
    body = {"input": str(folder / "clip.mkv"), "output": str(folder / "large.mp4")}
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == 409 and "another job" in answer.json()["detail"]


def test_unfinished_work_in_the_users_folder_goes_with_its_job(client, folder, gate):
    id = submit(client, folder / "clip.mkv", output=str(folder / "large.mp4"))
    wait_for(client, id, State.RUNNING, frames=1)
    (folder / "large.mp4.job").mkdir()  # as the real command makes one
    (folder / "large.mp4.job" / "unit-00000.bin").touch()
    client.delete(f"/api/jobs/{id}")
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mkv", "clip.mkv.go"]


def test_work_of_someone_else_is_not_touched(client, folder):
    (folder / "large.mp4.job").mkdir()
    body = {"input": str(folder / "clip.mkv"), "output": str(folder / "large.mp4")}
    assert client.post("/api/jobs", json=body).status_code == 409
    assert (folder / "large.mp4.job").exists()


def test_jobs_go_on_after_the_service_has_ended(serve, folder, gate):
    with serve() as client:
        id = submit(client, folder / "clip.mkv")
        wait_for(client, id, State.RUNNING, frames=1)
    gate.unlink()
    with serve() as client:
        wait_for(client, id, State.DONE)


def test_two_services_do_not_share_a_folder(serve, tmp_path, patchvsr):
    with serve():
        done = patchvsr("serve", "--data", tmp_path / "data", "--port", 0)
    assert done.returncode == 2
    assert "another service uses this folder" in done.stderr and done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_refused(tmp_path, patchvsr):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = patchvsr("serve", "--data", tmp_path / "data", "--port", taken.getsockname()[1])
    assert done.returncode == 2 and "choose another --port" in done.stderr


@pytest.mark.parametrize(
    ("device", "words"), [(None, []), ("cuda:1", ["--device", "cuda:1"]), ("ray:ray://h:1", ["--ray", "ray://h:1"])]
)
def test_a_command_runs_on_the_device_or_cluster_of_its_worker(serve, folder, monkeypatch, device, words):
    given, start = [], commands.start

    async def watched(*arguments, **named):
        given.append(arguments)
        return await start(*arguments, **named)

    monkeypatch.setattr(commands, "start", watched)
    with serve(devices=(device,)) as client:
        id = submit(client, folder / "clip.mkv")
        assert wait_for(client, id, State.DONE)["device"] == device
    (upscale,) = [arguments for arguments in given if "upscale" in arguments]
    assert list(upscale[upscale.index("--report") + 1 :]) == words
