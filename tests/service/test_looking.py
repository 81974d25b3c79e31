"""Previews and estimates by the real commands, in this process, where the libraries are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy
from jobfiles import make_shots

from patchvsr.errors import InputError
from patchvsr.service import commands
from patchvsr.settings import UpscaleSettings


@pytest.fixture
def ran(monkeypatch, patchvsr) -> list[tuple[str, ...]]:
    """The words of commands that were run, looks aside, which have processes of their own."""
    found: list[tuple[str, ...]] = []
    in_a_process = commands.answer

    async def answer(lock: Path, module: str, *words: str) -> str:
        if module == commands.LOOK:
            return await in_a_process(lock, module, *words)
        found.append(words)
        done = patchvsr(*words)
        if done.returncode:
            raise InputError(commands.last_line(done.stderr))
        return done.stdout

    monkeypatch.setattr(commands, "answer", answer)
    return found


@pytest.fixture
def wish(folder, tmp_path) -> dict[str, Any]:
    return {"input": str(make_shots(folder / "in.mkv", (5,)))}


@pytest.fixture
def client(serve, tmp_path):
    toy.pipeline(num_inference_steps=0).save_pretrained(tmp_path / "toy")
    settings = UpscaleSettings.of(scale=2.0, model=str(tmp_path / "toy"))
    with serve(settings=settings, devices=("cpu",)) as client:
        yield client


def test_a_preview_is_made_once(client, ran, wish):
    body = wish | {"at": 0.1, "crop": "8,8,16,12"}
    made = client.post("/api/previews", json=body).raise_for_status().json()
    assert (made["size"], made["job_frames"]) == ([32, 24], 5)
    assert client.get(f"/api/pictures/{made['output']}").content.startswith(b"\x89PNG")
    assert client.post("/api/previews", json=body).json() == made
    assert len(ran) == 1
    client.post("/api/previews", json=body | {"settings": {"restoration": 1}}).raise_for_status()
    assert len(ran) == 2


def test_a_preview_that_cannot_be_is_refused_in_one_line(client, ran, wish):
    answer = client.post("/api/previews", json=wish | {"crop": "0,0,99,99"})
    assert answer.status_code == 422 and answer.json()["detail"].startswith("crop 0,0,99,99 does not lie in the 40x40")
    assert len(ran) == 1
    assert client.post("/api/previews", json=wish | {"crop": "0,0,9"}).status_code == 422
    assert len(ran) == 1  # a crop that is none is seen before


def test_an_estimate_is_that_of_the_command(client, ran, wish, tmp_path):
    plan = client.post("/api/estimate", json=wish | {"settings": {"size": "120x120"}, "container": "mp4"}).json()
    assert (plan["frames"], plan["output_size"]) == (5, [120, 120])
    assert {"input", "output"}.isdisjoint(plan) and str(tmp_path) not in str(plan)
    (words,) = ran
    assert words[0] == "upscale" and "--plan" in words and words[words.index("-o") + 1].endswith(".mp4")
