"""Processes that begin at once: forked from a server that has imported everything, once for all tests of a worker."""

from __future__ import annotations

import functools
import multiprocessing
import os
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

HANGS_AFTER_S = 600  # never the reason why a test fails, only why a hung one ends
FOLDER = str(Path(__file__).parent)


@functools.cache
def context() -> Any:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["forking_imports"])
    # The server does not take over sys.path in every version of Python.
    path = os.pathsep.join([FOLDER, os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, PYTHONPATH=path):
        forkserver.ensure_running()
    return found


def start(function: Any, *arguments: Any) -> BaseProcess:
    process = context().Process(target=function, args=arguments)
    process.start()
    return process


def ended(process: BaseProcess) -> int | None:
    """Waits for a process; returns its exit code."""
    process.join(HANGS_AFTER_S)
    return process.exitcode
