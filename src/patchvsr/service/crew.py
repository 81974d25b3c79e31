"""The workers: one for each device. Each takes the next job of the queue and runs `patchvsr upscale` on it."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from patchvsr.errors import PatchVSRError
from patchvsr.service import commands
from patchvsr.service.database import Bell
from patchvsr.service.events import EventLog
from patchvsr.service.folders import JobFiles
from patchvsr.service.options import on_device
from patchvsr.service.queue import Job, Queue, State

_STORED_EVERY_S = 0.2  # progress between is not told: nobody can read faster
_NOT_LOGGED = ("job", "input", "output")  # paths of the server
_SIGNALS = {State.PAUSED: signal.SIGINT, State.CANCELLED: signal.SIGTERM}


_logger = logging.getLogger(__name__)


class Crew:
    def __init__(
        self,
        queue: Queue,
        log: EventLog,
        bell: Bell,
        data: Path,
        devices: Sequence[str | None],
        check: Callable[[Job], None],
    ) -> None:
        """check: raises PatchVSRError for a job that must not run any more."""
        self._check = check
        self._queue, self._log, self._bell, self._data, self._devices = queue, log, bell, data, devices
        self._running: dict[str, Process | None] = {}  # None while the command starts

    async def work(self) -> None:
        """Work on all devices until cancelled. Commands that still run then end with this process."""
        async with asyncio.TaskGroup() as group:
            for device in self._devices:
                group.create_task(self._work_on(device))

    async def stop(self, job: Job, state: State) -> Job:
        """Stop a running job: PAUSED after the unit at hand, CANCELLED at once. Finished units are kept."""
        self._queue.want(job.id, state)
        if (process := self._running.get(job.id)) is not None and process.returncode is None:
            process.send_signal(_SIGNALS[state])
        return self._queue.get(job.id)

    async def kill(self, job: Job) -> None:
        """End the command of a job, if it runs, and wait until it is gone."""
        while job.id in self._running:
            process = self._running[job.id]
            if process is not None and process.returncode is None:
                process.kill()
            await self._bell.wait()

    async def _work_on(self, device: str | None) -> None:
        while True:
            job = self._queue.take(device)
            if job is None:
                await self._bell.wait()
                continue
            try:
                self._check(job)
                state, reason = await self._run(job, device)
            except PatchVSRError as error:
                state, reason = State.FAILED, str(error)
            except Exception as error:  # a bug, or no process could be started; the other jobs go on
                _logger.exception("job %s", job.id)
                state, reason = State.FAILED, f"the command could not be run: {error}"
            self._queue.enter(job.id, state, reason=reason)

    async def _run(self, job: Job, device: str | None) -> tuple[State, str | None]:
        """Run a job to its end or until it is stopped. Returns the state that it is in then, and why."""
        files = JobFiles(self._data, job.id)
        errors = files.errors
        errors.unlink(missing_ok=True)
        words = ["upscale", job.input, "-o", job.output, "--preset", str(files.preset), "--json", "--report"]
        words += [word for index in job.settings.get("skip_streams") or () for word in ("--skip-stream", str(index))]
        words += on_device(device)
        self._running[job.id], process = None, None
        try:
            process = await commands.start(files.lock, commands.CLI, *words, errors=errors)
            self._running[job.id] = process
            if wanted := self._queue.get(job.id).wanted:  # said while the process was started
                process.send_signal(_SIGNALS[wanted])
            reason = await self._follow(job.id, process)
            code = await process.wait()
        finally:
            if process is not None and process.returncode is None:  # the service ends
                process.kill()
                await process.wait()
            del self._running[job.id]
        if code == 0:
            return State.DONE, None
        if wanted := self._queue.get(job.id).wanted:
            return wanted, None
        if code < 0:
            return State.FAILED, f"the command was ended by signal {-code}, maybe for lack of memory; resume to go on"
        return State.FAILED, reason or commands.last_line(errors.read_text(errors="replace"))

    async def _follow(self, id: str, process: Process) -> str | None:
        """Log the events of a command and keep its numbers in the job. Returns why it failed, if it said so."""
        reason, stored_at = None, 0.0
        async for event in _events(process):
            kind = event.pop("event")
            if kind in ("progress", "scanning"):
                if time.monotonic() - stored_at < _STORED_EVERY_S:
                    continue
                stored_at = time.monotonic()
            if kind == "failed":
                reason = event["reason"]
            if columns := _columns(kind, event):
                self._queue.change(id, **columns)
            self._log.add(id, kind, {name: value for name, value in event.items() if name not in _NOT_LOGGED})
        return reason


async def _events(process: Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.endswith(b"\n"):  # else it was cut off by the end of the process
            yield json.loads(line)


def _columns(kind: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return what an event changes in the row of its job."""
    match kind:
        case "started":
            return {"phase": "loading"}
        case "scanning":
            return {"phase": "scanning", "frames_done": 0}
        case "planned":
            done = event["frames_done"]
            numbers = {"frames_done": done, "planned_done": done, "planned_at": time.time()}
            return {"phase": "restoring", "frames": event["frames"]} | numbers
        case "progress":
            return {"frames_done": event["frames"]}
        case "assembling":
            return {"phase": "assembling"}
        case "finished":
            return {"phase": "measuring", "frames": event["frames"], "frames_done": event["frames"]}
    return {}
