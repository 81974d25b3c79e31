"""The command in a process of its own that has loaded the libraries when it begins: it is forked from `forking`."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import forking

from patchvsr.cli.main import main

PIPE_BYTES = 4096


class Forked:
    """As much of `subprocess.Popen` as tests need. Where Linux runs, the command is at most 4 KiB of output ahead."""

    def __init__(self, *words: object, cwd: Path | None = None) -> None:
        (out, to_out), (err, to_err) = (forking.context().Pipe(duplex=False) for _ in range(2))
        self._process = forking.start(_run, [*map(str, words)], cwd or Path.cwd(), to_out, to_err)
        self.stdout, self.stderr = _file(out), _file(err)
        for end in (to_out, to_err):
            end.close()

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stdout.close()
        self.stderr.close()
        forking.ended(self._process)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self) -> tuple[bytes, bytes]:
        """Read to the end. What goes to standard error must fit into its pipe."""
        said = self.stdout.read(), self.stderr.read()
        forking.ended(self._process)
        return said


def _file(end: Connection) -> io.FileIO:
    if sys.platform == "linux":
        fcntl.fcntl(end.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    file = io.FileIO(os.dup(end.fileno()))
    end.close()
    return file


def _run(words: list[str], cwd: Path, out: Connection, err: Connection) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    out.close()
    err.close()
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background have it switched off
    sys.argv = ["patchvsr", *words]
    main()
