"""Who is let in."""

import pytest

from patchvsr.errors import SettingsError
from patchvsr.service.options import ServiceOptions

TOKEN = "a-token-of-this-test"


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"host": "evil.example"}, 421, "evil.example"),
        ({"host": "evil.example:8790"}, 421, "evil.example"),
        ({"host": "127.0.0.1.evil.example"}, 421, "evil.example"),
        ({"origin": "https://evil.example"}, 403, "https://evil.example"),
        ({"origin": "null"}, 403, "null"),
        ({"origin": "http://127.0.0.1:9"}, 403, "http://127.0.0.1:9"),
        ({"sec-fetch-site": "cross-site"}, 403, "other sites"),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, 403, "other sites"),
    ],
)
def test_requests_from_elsewhere_are_refused(client, headers, status, reason):
    answer = client.get("/api/jobs", headers=headers)
    assert (answer.status_code, reason in answer.json()["detail"]) == (status, True)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1"},
        {"host": "localhost:8790", "origin": "http://localhost:8790"},
        {"host": "[::1]:8790"},
        {"sec-fetch-site": "same-origin"},
    ],
)
def test_requests_from_the_page_and_from_programs_are_answered(client, headers):
    assert client.get("/api/jobs", headers=headers).json() == []


def test_a_link_to_the_page_is_followed(client):
    answer = client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert answer.status_code == 200 and "PatchVSR" in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_foreign_request_changes_nothing(client, folder, tmp_path):
    body = {"input": str(folder / "clip.mkv")}
    assert client.post("/api/jobs", json=body, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.get("/api/jobs").json() == []


def test_a_name_of_this_machine_can_be_allowed(serve):
    with serve(names=("films.home",)) as client:
        assert client.get("/api/jobs", headers={"host": "films.home:8790"}).status_code == 200
        assert client.get("/api/jobs", headers={"host": "other.home"}).status_code == 421


def test_a_token_is_needed_where_there_is_one(serve):
    with serve(token=TOKEN) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "patchvsr=wrong"}, {"cookie": "a=b; =;"}):
            for path in ("/", "/api/jobs", "/main.js"):
                assert client.get(path, headers=headers).status_code == 401, (path, headers)
        assert client.get("/api/jobs", headers={"authorization": f"Bearer {TOKEN}"}).json() == []


def test_the_printed_address_lets_a_browser_in(serve):
    with serve(token=TOKEN) as client:
        assert client.get("/?token=wrong").status_code == 401
        answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["set-cookie"].split("; "))
        assert TOKEN not in answer.headers["set-cookie"]
        assert client.get("/api/jobs").json() == []  # with the cookie


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "films.home"])
def test_other_hosts_need_a_token(tmp_path, host):
    with pytest.raises(SettingsError, match="--token"):
        ServiceOptions(tmp_path, host=host)
    with pytest.raises(SettingsError, match="16"):
        ServiceOptions(tmp_path, host=host, token="short")
    assert ServiceOptions(tmp_path, host=host, token=TOKEN)


def test_this_machine_needs_none(tmp_path):
    assert all(ServiceOptions(tmp_path, host=host) for host in ("127.0.0.1", "localhost", "::1"))
