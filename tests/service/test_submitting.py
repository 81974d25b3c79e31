"""What can be asked for, and what is refused at once with nothing left behind."""

import os

import pytest
from servicing import files_in

from patchvsr.presets import load_preset

OUTSIDE = (
    "{out}/secret.mkv",
    "{in}/../secret.mkv",
    "{in}/link.mkv",
    "{in}/linked/secret.mkv",
    "/etc/passwd",
    "secret.mkv",
    "{in}/\0.mkv",
    "/" + "x" * 5000,
)


@pytest.mark.parametrize("path", OUTSIDE, ids=range(len(OUTSIDE)))
def test_paths_outside_the_folders_are_refused(client, folder, tmp_path, path):
    (tmp_path / "secret.mkv").write_bytes((folder / "clip.mkv").read_bytes())
    (folder / "link.mkv").symlink_to(tmp_path / "secret.mkv")
    (folder / "linked").symlink_to(tmp_path)
    path = path.replace("{out}", str(tmp_path)).replace("{in}", str(folder))
    for address in ("/api/facts", "/api/jobs", "/api/estimate", "/api/previews"):
        answer = client.post(address, json={"input": path})
        assert answer.status_code == 403 and "not in a folder of this service" in answer.json()["detail"]
    assert client.get("/api/still", params={"input": path}).status_code == 403
    assert files_in(tmp_path / "data" / "jobs") == []


def test_an_answer_does_not_tell_what_exists_outside(client, tmp_path):
    (tmp_path / "secret.mkv").touch()
    answers = [client.post("/api/facts", json={"input": str(tmp_path / name)}) for name in ("secret.mkv", "none.mkv")]
    assert len({answer.text.replace("secret", "none") for answer in answers}) == 1


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("{in}/../out.mkv", 403),
        ("{in}/none/out.mkv", 404),
        ("{in}/clip.mkv", 409),
        ("{in}/out.sh", 422),
        ("{in}/%d.mkv", 422),
    ],
)
def test_outputs_are_new_videos_in_the_folders(client, folder, tmp_path, output, status):
    output = output.replace("{in}", str(folder))
    answer = client.post("/api/jobs", json={"input": str(folder / "clip.mkv"), "output": output})
    assert answer.status_code == status
    assert files_in(folder) == ["clip.mkv"] and files_in(tmp_path / "data" / "jobs") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"settings": {"restoration": 2}}, "restoration is 2"),
        ({"settings": {"scale": 2, "size": "4k"}}, "size"),
        ({"settings": {"size": "32x24"}}, "smaller"),
        ({"settings": {"model": "someone/elses"}}, "not offered"),
        ({"settings": {"encoder_options": {"x264-params": "stats=/tmp/x"}}}, "encoder_options"),
        ({"settings": {"base": "/etc"}}, "base"),
        ({"settings": {"overwrite": True}}, "overwrite"),
        ({"settings": {"device": "cuda"}}, "device"),
        ({"settings": {"crf": "good"}}, "crf"),
        ({"settings": {"codec": "none-such"}}, "none-such"),
        ({"settings": {"codec": "vp9"}, "container": "mov"}, "cannot hold libvpx-vp9 video; use .mkv"),
        ({"container": "exe"}, "container"),
        ({"priority": 101}, "priority"),
        ({"shell": "rm"}, "shell"),
        ({"upload": "0" * 32}, "either"),
    ],
)
def test_bad_wishes_are_refused_in_one_line(client, folder, tmp_path, body, reason):
    answer = client.post("/api/jobs", json={"input": str(folder / "clip.mkv")} | body)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert reason in detail and "\n" not in detail
    assert str(tmp_path / "data") not in detail
    assert client.get("/api/jobs").json() == []
    assert files_in(tmp_path / "data" / "jobs") == []


def test_a_broken_video_is_refused(client, folder, tmp_path):
    (folder / "broken.mkv").write_bytes((folder / "clip.mkv").read_bytes()[:300])
    answer = client.post("/api/jobs", json={"input": str(folder / "broken.mkv")})
    assert answer.status_code == 422 and "broken.mkv" in answer.json()["detail"]
    assert files_in(tmp_path / "data" / "jobs") == []


def test_a_list_of_other_files_is_refused(client, folder, tmp_path):
    """FFmpeg would read them, wherever they are."""
    (folder / "list.mkv").write_text("ffconcat version 1.0\nfile clip.mkv\n")
    for address in ("facts", "previews", "estimate", "jobs"):
        answer = client.post(f"/api/{address}", json={"input": str(folder / "list.mkv")})
        assert answer.status_code == 422 and "is a list of other files" in answer.json()["detail"]
    assert files_in(tmp_path / "data" / "jobs") == []


def test_a_pipe_is_not_read(client, folder):
    os.mkfifo(folder / "pipe.mkv")
    assert client.post("/api/facts", json={"input": str(folder / "pipe.mkv")}).status_code == 404


def test_no_more_jobs_than_accepted(serve, folder):
    os.mkfifo(folder / "clip.mkv.go")
    with serve(max_jobs=1) as client:
        body = {"input": str(folder / "clip.mkv")}
        assert client.post("/api/jobs", json=body).status_code == 201
        answer = client.post("/api/jobs", json=body)
        assert answer.status_code == 429 and "1 jobs are unfinished" in answer.json()["detail"]


def test_settings_reach_the_command_as_a_preset_on_top_of_the_services(serve, folder, tmp_path):
    from patchvsr.settings import UpscaleSettings

    start = UpscaleSettings.of(scale=3.0, unit_frames=9, encoder_options={"preset": "slow"})
    with serve(settings=start) as client:
        body = {"input": str(folder / "clip.mkv"), "settings": {"size": "128x96", "crf": 20, "skip_streams": [1]}}
        id = client.post("/api/jobs", json=body).json()["id"]
        written = load_preset(tmp_path / "data" / "jobs" / id / "settings.toml")
    assert written == UpscaleSettings.of(
        size="128x96", unit_frames=9, crf=20.0, encoder_options={"preset": "slow"}
    )  # the stream to leave out is an option of the command


def test_facts_and_stills(client, folder):
    facts = client.post("/api/facts", json={"input": str(folder / "clip.mkv")}).json()
    assert (facts["name"], facts["width"], facts["height"]) == ("clip.mkv", 64, 48)
    assert [stream["type"] for stream in facts["streams"]] == ["video", "audio"]
    still = client.get("/api/still", params={"input": str(folder / "clip.mkv"), "at": 0.2})
    assert still.headers["content-type"] == "image/jpeg" and still.content[:2] == b"\xff\xd8"


@pytest.mark.parametrize("what", ["", "/events", "/output", "/report", "/thumbnail"])
def test_an_unknown_job_is_not_found(client, what):
    answer = client.get(f"/api/jobs/none{what}")
    assert answer.status_code == 404 and "no job none" in answer.json()["detail"]


def test_the_interface_is_described_and_nothing_of_it_comes_from_elsewhere(client):
    described = client.get("/api/openapi.json").json()
    paths = described["paths"]
    settings = described["components"]["schemas"]["Settings"]["properties"]
    texts = {name for name, field in settings.items() if {"type": "string"} in field["anyOf"]}
    # None of these leads out of the service: each is checked against a list, or is no path. A new one has to be judged.
    assert texts == {"size", "codec", "pix_fmt", "deinterlace", "rate", "joint_mode", "scheduler", "dtype", "model"}
    assert {"/api/jobs", "/api/jobs/{id}/events", "/api/uploads/{id}", "/api/previews"} <= paths.keys()
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize("path", ["/../options.py", "/%2e%2e/__init__.py", "/api/pictures/..%2f..%2fservice.sqlite"])
def test_static_files_and_pictures_are_all_that_is_served(client, path):
    assert client.get(path).status_code == 404
