"""Measure the service: kills during queued jobs, a burst of submissions, memory, and a large upload.

python benchmarks/service.py --kills 20
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from jobfiles import make_shots

from patchvsr.presets import save_preset
from patchvsr.settings import UpscaleSettings

MIB = 2**20
LONGEST_LIFE_S = 30.0
SETTINGS = UpscaleSettings.of(scale=1.0, chunk_frames=5, unit_frames=9, num_inference_steps=0)


@contextmanager
def serving(folder: Path, *options: object) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    with running(folder, "--data", folder / "data", "--preset", folder / "small.toml", *options) as served:
        yield served


@contextmanager
def running(*words: object, **environment: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Serve with these arguments on a free port until the block ends; then the process is killed."""
    command = [sys.executable, "-m", "patchvsr", "serve", *map(str, words), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--min-free-gib", "0", "--max-jobs", "1000"],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = re.search(r"http://[^/\s]+", process.stderr.readline())
        assert found
        with httpx.Client(base_url=found[0], timeout=600) as client:
            yield client, process
    finally:
        process.kill()
        process.wait()


def memory_mib(process: subprocess.Popen[str]) -> float:
    return psutil.Process(process.pid).memory_info().rss / MIB


def kills(folder: Path, source: Path, count: int) -> None:
    """Kill the service at random moments while three jobs are unfinished, `count` times; then let them end.

    Three jobs that are done before the last kill are followed by three more, so every kill hits work.
    """
    words = ["upscale", source, "-o", folder / "whole.mkv", "--preset", folder / "small.toml"]
    subprocess.run([sys.executable, "-m", "patchvsr", *map(str, words)], check=True, capture_output=True)
    draw, ids, hit, done = random.Random(0), [], Counter[str](), False
    while hit.total() < count or not done:
        with serving(folder) as (client, process):
            if not ids or done:
                ids += [client.post("/api/jobs", json={"input": str(source)}).json()["id"] for _ in range(3)]
            ends_at = time.monotonic() + draw.uniform(0, LONGEST_LIFE_S)
            while True:
                jobs = client.get("/api/jobs").json()
                done = all(job["state"] == "done" for job in jobs)
                if done or (hit.total() < count and time.monotonic() > ends_at):
                    break
                time.sleep(0.1)
            process.kill()
        if not done:
            hit[next((job["phase"] or "queued" for job in jobs if job["state"] == "running"), "queued")] += 1
    outputs = [folder / "data" / "jobs" / id / "output.mkv" for id in ids]
    same = {hashlib.sha256(path.read_bytes()).digest() for path in (*outputs, folder / "whole.mkv")}
    verdict = "the same bytes as without" if len(same) == 1 else "OTHER BYTES"
    print(f"{hit.total()} kills during {len(ids)} jobs, three at a time: {verdict}")
    print("killed while " + ", ".join(f"{phase}: {number}" for phase, number in hit.most_common()))


def burst(folder: Path, source: Path, count: int) -> None:
    """Many submissions at once, with the worker's queue paused by a job that is first."""
    with serving(folder) as (client, process):
        idle = memory_mib(process)
        address = str(client.base_url).rstrip("/")

        def submit(number: int) -> int:
            body = {"input": str(source), "priority": -1}
            return httpx.post(f"{address}/api/jobs", json=body, timeout=600).status_code

        started_at = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            found = list(pool.map(submit, range(10)))
        print(f"memory of the service: {idle:.0f} MiB idle, {memory_mib(process):.0f} MiB with ten jobs")
        with ThreadPoolExecutor(count) as pool:
            found += list(pool.map(submit, range(count - 10)))
        seconds = time.monotonic() - started_at
        codes = {code: found.count(code) for code in set(found)}
        listed = len(client.get("/api/jobs").json())
        print(f"{count} submissions in {seconds:.1f} s: answers {codes}, {listed} jobs, {memory_mib(process):.0f} MiB")


def upload(folder: Path, gib: float) -> None:
    """A large upload in pieces of 8 MiB, of bytes that are no video."""
    size, piece = int(gib * 2**30), bytes(8 * MIB)
    with serving(folder) as (client, process):
        id = client.post("/api/uploads", json={"name": "large.mkv", "size": size}).json()["id"]
        before, most, started_at = memory_mib(process), 0.0, time.monotonic()
        for offset in range(0, size, len(piece)):
            part = piece[: size - offset]
            answer = client.patch(f"/api/uploads/{id}", content=part, headers={"upload-offset": str(offset)})
            most = max(most, memory_mib(process))
        seconds = time.monotonic() - started_at
        print(
            f"upload of {gib:g} GiB: {size / MIB / seconds:.0f} MiB/s, memory {before:.0f} MiB before, at most "
            f"{most:.0f} MiB; then: {answer.status_code} {answer.json()['detail']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--upload-gib", type=float, default=2.0)
    chosen = parser.parse_args()
    for run in (
        lambda folder, source: upload(folder, chosen.upload_gib),
        lambda folder, source: burst(folder, source, chosen.submissions),
        lambda folder, source: kills(folder, source, chosen.kills),
    ):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_preset(SETTINGS, folder / "small.toml")
            run(folder, make_shots(folder / "in.mkv"))


if __name__ == "__main__":
    main()
