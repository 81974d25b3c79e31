"""Run a command in a process of its own and measure its time and its peak memory.

On Linux the peak of a new process starts at the memory of the process that started it, which may hold a model. So this
file also runs as a small program of its own between the two, and must import nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_NOT_FOUND = 127
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Measured:
    """A command that has ended.

    code: exit code; a negative signal if it was killed, None if it took longer than allowed.
    peak_memory_gib: peak resident memory of the largest process among the command and its children.
    output, errors: the last part of what it wrote to standard output and to standard error.
    """

    code: int | None
    seconds: float
    peak_memory_gib: float
    output: str
    errors: str

    def last_words(self, lines: int = 3) -> str:
        """Return the last lines of its errors, or else of its output, as one line."""
        said = [line.strip() for line in (self.errors.strip() or self.output.strip()).splitlines()]
        return "; ".join(line for line in said[-lines:] if line)


def run_measured(command: Sequence[str], *, timeout_s: float | None = None) -> Measured:
    """Run `command` to its end, or kill it with all its children after `timeout_s` seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started_at = time.perf_counter()
        with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
            ended = _wait(_between(folder / "usage.json", command, output, errors), timeout_s)
        usage: dict[str, Any] = {"code": None, "seconds": time.perf_counter() - started_at, "peak_memory_gib": 0.0}
        if ended:
            usage = json.loads((folder / "usage.json").read_text())
        return Measured(**usage, output=_tail(folder / "output"), errors=_tail(folder / "errors"))


def _between(usage: Path, command: Sequence[str], output: BinaryIO, errors: BinaryIO) -> subprocess.Popen[bytes]:
    # A session of its own, so that the command and its children can be killed together.
    program = [sys.executable, "-I", "-S", __file__, str(usage), *command]
    return subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True)


def _wait(process: subprocess.Popen[bytes], timeout_s: float | None) -> bool:
    """Return whether the process ended in time; leave nothing of it running."""
    try:
        process.wait(timeout_s)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def _run(command: Sequence[str]) -> dict[str, float]:
    """Run a command and return its exit code, its seconds and its peak memory in GiB."""
    started_at = time.perf_counter()
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return {"code": _NOT_FOUND, "seconds": 0.0, "peak_memory_gib": 0.0}
    _, status, usage = os.wait4(process.pid, 0)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - started_at,
        "peak_memory_gib": usage.ru_maxrss * unit / 2**30,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(_run(sys.argv[2:])))
