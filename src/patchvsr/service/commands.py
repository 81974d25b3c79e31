"""Start commands in processes of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from patchvsr.errors import InputError
from patchvsr.service.refusals import Refused

CLI, LOOK = "patchvsr", "patchvsr.service.look"
USER_ERROR = 2
_LONGEST_LINE = 2**22  # bytes; a plan or the facts of a file are one line


async def start(lock: Path, module: str, *words: str, errors: Path | None = None) -> Process:
    """Start `python -m MODULE WORD...` on a leash. Its standard error is added to the file `errors`, else a pipe.

    It has a session of its own, so that Ctrl-C in the terminal of the service reaches the service only.
    """
    command = [sys.executable, "-m", "patchvsr.service.leash", str(lock), module, *words]
    if errors is None:
        return await _start(command, PIPE)
    with errors.open("ab") as file:
        return await _start(command, file.fileno())


async def answer(lock: Path, module: str, *words: str, timeout_s: float = 600) -> str:
    """Run a command to its end and return what it printed. Raises InputError with its line if it refuses."""
    process = await start(lock, module, *words)
    try:
        # `communicate` would close standard input, and so the leash, at once.
        assert process.stdout and process.stderr
        out, err, _ = await asyncio.wait_for(
            asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait()), timeout_s
        )
    except TimeoutError:
        raise Refused(504, f"no answer within {timeout_s:g} s: try a smaller part or wait for running jobs") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode == 0:
        return out.decode()
    line = last_line(err.decode(errors="replace"))
    if process.returncode == USER_ERROR:
        raise InputError(line)
    raise Refused(500, f"the command ended with code {process.returncode}: {line}")


def last_line(text: str) -> str:
    """Return the last line of what a command printed, without its name, or a note that there is none."""
    lines = [line for line in text.splitlines() if line.strip()] or ["it printed no reason"]
    return lines[-1].removeprefix("patchvsr: ")


async def _start(command: list[str], stderr: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=PIPE, stderr=stderr, start_new_session=True, limit=_LONGEST_LINE
    )
