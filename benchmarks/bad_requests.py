"""Send bad requests to a real service, and see that it refuses each as it describes, and keeps nothing.

python benchmarks/bad_requests.py --each 10

There are three kinds: our own (`tests/hostile.py`), those that schemathesis generates from /api/openapi.json, good and
bad ones in turns, and bytes that are no HTTP. The folder above the service's own, the home folder and the folder for
temporary files are watched.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from clips import make_video
from hostile import as_request, check_answer, generated_requests, own_requests, tree, without_token
from service import running

TOKEN = "a-token-of-this-benchmark"
MIB = 2**20
NO_HTTP = (
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/api/jobs HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * MIB + b"\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
    os.urandom(4096),
)


class Watched:
    """A folder with a service's data and films, beside a file that nobody may have."""

    def __init__(self, root: Path) -> None:
        self.root, self.films, self.data = root, root / "films", root / "data"
        for folder in ("films", "tmp", "home"):
            (root / folder).mkdir()
        self.clip = make_video(self.films / "clip.mkv", count=5, size=(64, 48), audio=True)
        (root / "secret.mkv").write_bytes(self.clip.read_bytes())
        (self.films / "link.mkv").symlink_to(root / "secret.mkv")
        (self.films / "broken.mkv").write_bytes(self.clip.read_bytes()[:300])
        (self.films / "list.mkv").write_text("ffconcat version 1.0\nfile ../secret.mkv\n")

    def tree(self) -> dict[str, tuple[int, int]]:
        return tree(self.root, without="data")


@contextmanager
def serving(watched: Watched, **environment: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    environment |= {"TMPDIR": str(watched.root / "tmp"), "HOME": str(watched.root / "home")}
    words = [watched.films, "--data", watched.data, "--device", "cpu", "--max-upload-gib", 0.01]
    with running(*words, **environment) as served:
        yield served


class Tally:
    """Numbers of answers by kind and status, the slowest, and what was wrong."""

    def __init__(self) -> None:
        self.statuses: dict[str, Counter[object]] = defaultdict(Counter)
        self.slowest: dict[str, float] = defaultdict(float)
        self.faults: list[str] = []

    def add(self, kind: str, status: object, started_at: float, fault: str | None) -> None:
        self.statuses[kind][status] += 1
        self.slowest[kind] = max(self.slowest[kind], time.monotonic() - started_at)
        if fault:
            self.faults.append(f"{kind}: {fault}")
            print(f"FAULT {self.faults[-1]}", flush=True)

    def report(self) -> None:
        print("| requests | number | answers | slowest, s |\n|---|---|---|---|")
        for kind, found in self.statuses.items():
            answers = ", ".join(f"{count} x {status}" for status, count in sorted(found.items(), key=str))
            print(f"| {kind} | {sum(found.values())} | {answers} | {self.slowest[kind]:.1f} |")
        total = sum(sum(found.values()) for found in self.statuses.values())
        print(f"\n{total} requests, {len(self.faults)} faults", flush=True)


def prepare(client: httpx.Client, watched: Watched) -> dict[str, str]:
    """Make what requests can be about: a job, and an unfinished upload."""
    job = client.post("/api/jobs", json={"input": str(watched.clip)}).raise_for_status().json()["id"]
    upload = client.post("/api/uploads", json={"name": "a.mkv", "size": 10}).raise_for_status().json()["id"]
    return {"clip": str(watched.clip), "job": job, "upload": upload}


def send_own(client: httpx.Client, watched: Watched, known: dict[str, str], tally: Tally) -> None:
    for bad in own_requests(watched.films, known["job"], known["upload"]):
        started_at = time.monotonic()
        answer = client.request(bad.method, bad.path, **bad.given)
        wrong = None if answer.status_code in bad.statuses else f"{bad.method} {bad.path} {str(bad.given)[:200]}"
        tally.add(f"own: {bad.about}", answer.status_code, started_at, wrong and f"{wrong}: {answer}")
    for name in ("broken.mkv", "list.mkv"):
        for address in ("facts", "estimate", "previews", "jobs"):
            started_at = time.monotonic()
            answer = client.post(f"/api/{address}", json={"input": str(watched.films / name)})
            tally.add("own: broken", answer.status_code, started_at, None if answer.status_code == 422 else answer.text)


def send_generated(client: httpx.Client, known: dict[str, str], each: int, tally: Tally) -> None:
    def send(case) -> None:  # type: ignore[no-untyped-def]
        started_at, wrong = time.monotonic(), None
        answer = client.request(**as_request(case, str(client.base_url)))
        try:
            check_answer(case, answer)
        except BaseException as error:  # schemathesis raises groups of failures
            wrong = f"{case.method} {case.path} {answer.status_code}: {error}"
        mode = "generated, good" if case.meta.generation.mode.is_positive else "generated, bad"
        tally.add(mode, answer.status_code, started_at, wrong)

    generated_requests(client.get("/api/openapi.json").json(), each, known, send)


def send_no_http(client: httpx.Client, tally: Tally) -> None:
    place = urlsplit(str(client.base_url))
    for sent in NO_HTTP:
        started_at = time.monotonic()
        with socket.create_connection((place.hostname, place.port), timeout=5) as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(64)
            except ConnectionError:
                answer = b""
        found = re.match(rb"HTTP/1.1 (\d+)", answer)
        status = int(found[1]) if found else "closed"
        tally.add("no HTTP", status, started_at, f"{sent[:80]!r}: {answer!r}" if status in (200, 201, 500) else None)


def clean_up(client: httpx.Client, watched: Watched) -> None:
    """Delete all jobs and uploads; what is then left is a fault."""
    for what in ("jobs", "uploads"):
        for one in client.get(f"/api/{what}").json():
            client.delete(f"/api/{what}/{one['id']}").raise_for_status()
    left = [path for what in ("jobs", "uploads") for path in (watched.data / what).rglob("*")]
    print(f"left in the service's folder after deletion: {left or 'nothing'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=10, help="good and bad requests of every operation")
    chosen = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        watched = Watched(Path(name))
        before = watched.tree()
        with serving(watched) as (client, process):
            known = prepare(client, watched)
            idle = psutil.Process(process.pid).memory_info().rss / MIB
            send_no_http(client, tally)
            send_own(client, watched, known, tally)
            send_generated(client, known, chosen.each, tally)
            memory = psutil.Process(process.pid).memory_info().rss / MIB
            clean_up(client, watched)
            assert process.poll() is None, "the service has ended"
        with serving(watched, PATCHVSR_TOKEN=TOKEN) as (client, _):
            for bad in without_token("none"):
                started_at = time.monotonic()
                status = client.request(bad.method, bad.path, **bad.given).status_code
                tally.add("no token", status, started_at, None if status in bad.statuses else str(bad))
        tally.report()
        print(f"memory of the service: {idle:.0f} MiB before, {memory:.0f} MiB after")
        after = watched.tree()
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        print(f"changed in the watched folders: {changed or 'nothing'}")
    sys.exit(bool(tally.faults or changed))


if __name__ == "__main__":
    main()
