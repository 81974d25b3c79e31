"""What clients can ask of the service, without HTTP."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from patchvsr.errors import PatchVSRError
from patchvsr.files import make_folder, remove_folder
from patchvsr.jobs.folder import JobFolder
from patchvsr.presets import save_preset
from patchvsr.service.bodies import NewJob, PreviewWish, Source, Wish
from patchvsr.service.crew import Crew
from patchvsr.service.database import Bell, Seen, connect
from patchvsr.service.events import EventLog
from patchvsr.service.folders import JobFiles
from patchvsr.service.looks import Looks
from patchvsr.service.options import ServiceOptions
from patchvsr.service.places import Places
from patchvsr.service.queue import STOPPED, UNFINISHED, Job, Queue, State
from patchvsr.service.refusals import Refused
from patchvsr.service.uploads import Uploads
from patchvsr.service.watching import Watcher

T = TypeVar("T")


class _Source(NamedTuple):
    path: Path
    name: str
    upload: str | None


class Service:
    """A service on a data folder that is locked for it; `running` makes one."""

    def __init__(self, options: ServiceOptions) -> None:
        self.options = options
        database = connect(options.data / "service.sqlite")
        self.bell = Bell()
        self.log = EventLog(database, self.bell)
        self.queue = Queue(database, self.log)
        self.uploads = Uploads(database, options)
        self.looks = Looks(options.data, options.devices[0])
        self.crew = Crew(self.queue, self.log, self.bell, options.data, options.devices, self._check_paths)
        self.places = Places((*options.folders, *options.watched))
        self.seen = Seen(database)
        self._submitting = 0
        self._close = database.close

    @classmethod
    @asynccontextmanager
    async def running(cls, options: ServiceOptions) -> AsyncIterator[Service]:
        """Take up what an earlier service left, and work until the end of the context. Jobs stay as they are then."""
        service = cls(options)
        service.queue.take_up(options.devices)
        service._remove_leftovers()
        tasks = [
            asyncio.create_task(service.crew.work()),
            asyncio.create_task(Watcher(service, options.watched).watch()),
        ]
        for task in tasks:
            task.add_done_callback(_end_with_a_bug)
        try:
            yield service
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            service._close()
            for end in ends:
                if isinstance(end, Exception):
                    raise end

    # --- files ----------------------------------------------------------------------------------------------

    async def facts(self, body: Source) -> dict[str, Any]:
        source = self._source(body)
        return _with_names(await self._asked(self.looks.facts(source.path), source), source)

    async def received(self, id: str) -> dict[str, Any]:
        """Return the facts of a complete upload. One that is no video is removed."""
        try:
            return await self.facts(Source(input=None, upload=id))
        except PatchVSRError as error:
            if not isinstance(error, Refused):
                self.uploads.remove(id)
            raise

    def delete_upload(self, id: str) -> None:
        if any(job.upload == id for job in self.queue.all()):
            raise Refused(409, f"upload {id} is the input of a job: delete the job instead")
        self.uploads.remove(self.uploads.get(id).id)

    async def estimate(self, body: Wish) -> dict[str, Any]:
        source, settings = self._source(body), body.chosen(self.options)
        plan = await self._asked(self.looks.estimate(source.path, f".{body.container}", settings), source)
        return {name: value for name, value in plan.items() if name not in ("input", "output")}

    async def preview(self, body: PreviewWish) -> dict[str, Any]:
        source, settings = self._source(body), body.chosen(self.options)
        return await self._asked(self.looks.preview(source.path, settings, body.at, body.crop), source)

    async def still(self, body: Source, at_s: float, longest_side: int) -> Path:
        source = self._source(body)
        return await self._asked(self.looks.still(source.path, at_s, longest_side), source)

    def input_of(self, job: Job) -> Path:
        """Return the input of a job. Raises Refused if it is gone or leads elsewhere by now."""
        return self.uploads.get(job.upload).path if job.upload else self.places.input(job.input)

    # --- jobs -----------------------------------------------------------------------------------------------

    async def submit(self, body: NewJob) -> Job:
        """Put a job into the queue if the file, the settings and the limits allow it. Else nothing is left behind."""
        self._check_limits()
        source, settings = self._source(body), body.chosen(self.options)
        id = secrets.token_hex(8)
        files = JobFiles(self.options.data, id)
        output = self.places.output(body.output) if body.output else files.output(f".{body.container}")
        self._check_output(output)
        make_folder(files.folder)
        self._submitting += 1
        try:
            save_preset(settings, files.preset)
            look = await self._asked(
                self.looks.check(source.path, output, files.preset, settings.encode.skip_streams), source, files
            )
            # Others may have come meanwhile, and the upload may be gone.
            self._check_output(output)
            self._source(body)
        except BaseException:
            files.remove()
            raise
        finally:
            self._submitting -= 1
        return self.queue.add(
            id=id,
            name=source.name,
            input=str(source.path),
            output=str(output),
            upload=source.upload,
            settings=body.settings.model_dump(exclude_unset=True),
            look=look,
            frames=look["frames"],
            priority=body.priority,
        )

    async def pause(self, id: str) -> Job:
        """Pause a job: at once if it waits, after its unit if it runs."""
        return await self._stop(id, State.PAUSED, from_states=(State.SUBMITTED,))

    async def cancel(self, id: str) -> Job:
        """Stop a job at once. Its finished units stay until it is deleted."""
        return await self._stop(id, State.CANCELLED, from_states=(State.SUBMITTED, State.PAUSED))

    def resume(self, id: str) -> Job:
        """Let a stopped job wait for its turn again, in its old place. It goes on where it was."""
        job = self.queue.get(id)
        if job.state not in STOPPED:
            raise Refused(409, f"job {id} is {job.state}: only a paused, failed or cancelled one can go on")
        if job.state is not State.PAUSED:
            self._check_limits()
        return self.queue.enter(id, State.SUBMITTED)

    async def delete(self, id: str) -> None:
        """Remove a job with what it has made, besides a finished output in a folder that the client named."""
        job = self.queue.get(id)
        await self.crew.kill(job)
        job = self.queue.get(id)
        self.queue.remove(id)
        files = JobFiles(self.options.data, id)
        if Path(job.output).parent != files.folder and job.state is not State.DONE:
            remove_folder(JobFolder(Path(job.output)).path)  # there was none when the job was submitted
        files.remove()
        if job.upload and all(other.upload != job.upload for other in self.queue.all()):
            self.uploads.remove(job.upload)

    async def _stop(self, id: str, state: State, from_states: tuple[State, ...]) -> Job:
        job = self.queue.get(id)
        if job.state is State.RUNNING:
            return await self.crew.stop(job, state)
        if job.state not in from_states:
            raise Refused(409, f"job {id} is {job.state} and cannot become {state}")
        return self.queue.enter(id, state)

    def _source(self, body: Source) -> _Source:
        if (body.input is None) == (body.upload is None):
            raise Refused(422, "give either `input`, a path of the server, or `upload`, the id of an upload")
        if body.input is not None:
            path = self.places.input(body.input)
            return _Source(path, path.name, None)
        assert body.upload is not None
        upload = self.uploads.get(body.upload)
        if not upload.complete:
            raise Refused(409, f"{upload.offset} of {upload.size} bytes of {upload.name} have arrived: send the rest")
        return _Source(upload.path, upload.name, upload.id)

    async def _asked(self, answer: Awaitable[T], source: _Source, files: JobFiles | None = None) -> T:
        """Await an answer about a file. Its errors do not tell clients where the service keeps its own files."""
        try:
            return await answer
        except PatchVSRError as error:
            if isinstance(error, Refused):
                raise
            text = str(error) if source.upload is None else str(error).replace(str(source.path), source.name)
            text = text if files is None else text.replace(f"{files.folder}/", "")
            raise type(error)(text) from None

    def _check_paths(self, job: Job) -> None:
        """Raise Refused if the paths of a job lead elsewhere by now: in shared folders, others may replace them."""
        output = Path(job.output)
        own = output.parent == JobFiles(self.options.data, job.id).folder
        if not (own or output.resolve() == output) or self.input_of(job) != Path(job.input):
            raise Refused(409, f"{job.input} or {job.output} leads elsewhere by now: submit it again")

    def _check_limits(self) -> None:
        waiting = self.queue.count(UNFINISHED) + self._submitting
        if waiting >= self.options.max_jobs:
            raise Refused(429, f"{waiting} jobs are unfinished, the most that are accepted: wait, or delete one")
        self.options.check_space()

    def _check_output(self, output: Path) -> None:
        if any(job.output == str(output) for job in self.queue.all()):
            raise Refused(409, f"{output}: is the output of another job; choose another name")

    def _remove_leftovers(self) -> None:
        """Remove folders of jobs that a killed service was about to submit or had deleted."""
        known = {job.id for job in self.queue.all()}
        for folder in (self.options.data / "jobs").glob("*"):
            if folder.name not in known:
                JobFiles(self.options.data, folder.name).remove()


def _end_with_a_bug(work: asyncio.Task[None]) -> None:
    """End the process if workers or watcher have failed, as at a full disk: without them it only looks alive."""
    if not work.cancelled() and work.exception() is not None:
        signal.raise_signal(signal.SIGTERM)


def _with_names(facts: dict[str, Any], source: _Source) -> dict[str, Any]:
    return {"name": source.name, "bytes": source.path.stat().st_size} | facts
