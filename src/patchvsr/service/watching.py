"""Watched folders: every video in them becomes a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchvsr.errors import PatchVSRError
from patchvsr.media.suffixes import VIDEO_SUFFIXES
from patchvsr.service.bodies import NewJob
from patchvsr.service.refusals import Refused

if TYPE_CHECKING:
    from patchvsr.service.service import Service

OUTPUTS = "upscaled"  # the subfolder for results
EVERY_S = 5.0
LATER = (429, 504, 507)  # too many jobs, no answer, no space: not the file's fault
TAKEN = 409  # the name of the output

_logger = logging.getLogger(__name__)


class Watcher:
    """Submit each video once it has stopped growing. What was submitted or refused is looked at again if it changes."""

    def __init__(self, service: Service, folders: Sequence[Path]) -> None:
        self._service, self._folders = service, folders
        self._growing: dict[Path, str] = {}
        self._warned: set[Path] = set()

    async def watch(self) -> None:
        """Look into the folders until cancelled."""
        while self._folders:
            for folder in self._folders:
                try:
                    paths = sorted(folder.iterdir())
                except OSError as error:  # a disk that is gone may come back
                    self._warn(folder, error)
                    continue
                for path in paths:
                    try:
                        await self._look_at(path)
                    except (OSError, ValueError) as error:  # ValueError: a name that is no text
                        self._warn(path, error)
            await asyncio.sleep(EVERY_S)

    async def _look_at(self, path: Path) -> None:
        """Submit a new video that is as it was at the last look."""
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith(".") or not path.is_file():
            return
        found = path.stat()
        stamp = f"{found.st_size} {found.st_mtime_ns}"
        if self._service.seen.get(path) == stamp:
            return
        if self._growing.pop(path, None) == stamp:
            await self._submit(path, stamp)
        else:
            self._growing[path] = stamp

    async def _submit(self, path: Path, stamp: str) -> None:
        jobs = self._service.queue.all()
        if self._service.seen.get(path) is None and any(job.input == str(path.resolve()) for job in jobs):
            self._service.seen.add(path, stamp)  # submitted just before the service was killed, or by a client
            return
        outputs = path.parent / OUTPUTS
        outputs.mkdir(exist_ok=True)
        refusal: PatchVSRError | None = None
        for name in (path.stem, path.name):  # two videos may differ by their suffix alone
            output = outputs / f"{name.replace('%', '_')}.{NewJob.model_fields['container'].default}"
            try:
                await self._service.submit(NewJob.model_validate({"input": str(path), "output": str(output)}))
                refusal = None
            except PatchVSRError as error:
                refusal = error
            if not (isinstance(refusal, Refused) and refusal.status == TAKEN):
                break
        if isinstance(refusal, Refused) and refusal.status in LATER:
            return
        if refusal is not None:
            self._warn(path, refusal)
        self._service.seen.add(path, stamp)

    def _warn(self, path: Path, reason: Exception) -> None:
        """Log why a path is left alone, once until the service is started again."""
        if path not in self._warned:
            _logger.warning("%r is not upscaled: %s", str(path), reason)
            self._warned.add(path)
