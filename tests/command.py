"""The command as a user gives it: in this process, where loading the libraries again takes no time, or in its own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import patchvsr
from patchvsr.cli import main as cli

HANGS_AFTER_S = 600  # never the reason why a test fails, only why a hung one ends
LOGGERS = (None, "diffusers", "patchvsr")  # whose levels the command sets


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run_here(capfd: Any, *words: object) -> Done:
    """All that a process of its own would print, what libraries print or log included; a bug is raised."""
    capfd.readouterr()
    try:
        with _as_in_a_new_process(), mock.patch.object(sys, "argv", ["patchvsr", *map(str, words)]):
            cli.main()
    except SystemExit as end:
        assert end.code is None or isinstance(end.code, int), end.code
        return Done(end.code or 0, *capfd.readouterr())
    raise AssertionError("main() returned")


def run(*words: object) -> Done:
    process = start(*words)
    out, err = process.communicate(timeout=HANGS_AFTER_S)
    return Done(process.returncode, out.decode(), err.decode())


def start(*words: object, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """A process that heeds Ctrl-C. It is at most 4 KiB of output ahead of the reader, where Linux runs: it waits."""
    source = str(Path(patchvsr.__file__).resolve().parents[1])  # the one tested here, wherever the command runs
    return subprocess.Popen(
        [sys.executable, "-m", "patchvsr.cli.main", *map(str, words)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": source},
        # A job in the background has SIGINT switched off, and so have its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pipesize=4096,
    )


@contextlib.contextmanager
def _as_in_a_new_process() -> Iterator[None]:
    """No handlers of the test runner, which would swallow what is logged; what the command sets is set back."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in LOGGERS}
    root.handlers[:] = []
    try:
        with mock.patch.dict(os.environ), warnings.catch_warnings():
            yield
    finally:
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
