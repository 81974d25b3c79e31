"""A service in this process, whose jobs are run by a stand-in for the command, and a small video."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import standin_command
from clips import make_video
from starlette.testclient import TestClient

import patchvsr
from patchvsr.service import commands
from patchvsr.service.app import build_app
from patchvsr.service.folders import locked
from patchvsr.service.options import ServiceOptions

ADDRESS = "http://127.0.0.1"
Serve = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("source") / "clip.mkv", count=9, size=(64, 48), audio=True)


@pytest.fixture
def folder(tmp_path, video) -> Path:
    """The folder that clients may use, with the video in it."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "clip.mkv").write_bytes(video.read_bytes())
    return tmp_path / "videos"


@pytest.fixture
def serve(tmp_path, folder, monkeypatch) -> Serve:
    """Start a service on the same data folder, again and again if need be."""
    paths = [Path(patchvsr.__file__).parents[1], Path(standin_command.__file__).parent]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setattr(commands, "CLI", standin_command.__name__)

    @contextmanager
    def start(**options: Any) -> Iterator[TestClient]:
        options = {"data": tmp_path / "data", "folders": (folder,), "min_free_bytes": 0} | options
        with locked(options["data"]), TestClient(build_app(ServiceOptions(**options)), base_url=ADDRESS) as client:
            yield client

    return start


@pytest.fixture
def client(serve) -> Iterator[TestClient]:
    with serve() as client:
        yield client
