"""Watched folders: every video in them becomes a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
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
_LATER = (429, 504, 507)  # too many jobs, no answer, no space: not the file's fault

_logger = logging.getLogger(__name__)


class Watcher:
    """Submit each video once it has stopped growing. What was submitted or refused is looked at again if it changes."""

    def __init__(self, service: Service, folders: Sequence[Path]) -> None:
        self._service, self._folders = service, folders
        self._growing: dict[Path, str] = {}

    async def watch(self) -> None:
        """Look into the folders until cancelled."""
        while self._folders:
            for folder in self._folders:
                try:
                    async for path, stamp in self._settled(folder):
                        await self._submit(path, stamp)
                except OSError as error:  # a disk that is gone may come back
                    _logger.warning("cannot look into %s: %s", folder, error)
            await asyncio.sleep(EVERY_S)

    async def _settled(self, folder: Path) -> AsyncIterator[tuple[Path, str]]:
        """Yield the new videos of a folder that are as they were at the last look."""
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith(".") or not path.is_file():
                continue
            found = path.stat()
            stamp = f"{found.st_size} {found.st_mtime_ns}"
            if self._service.seen.get(path) == stamp:
                continue
            if self._growing.get(path) == stamp:
                del self._growing[path]
                yield path, stamp
            else:
                self._growing[path] = stamp

    async def _submit(self, path: Path, stamp: str) -> None:
        jobs = self._service.queue.all()
        if self._service.seen.get(path) is None and any(job.input == str(path.resolve()) for job in jobs):
            self._service.seen.add(path, stamp)  # submitted just before the service was killed, or by a client
            return
        outputs = path.parent / OUTPUTS
        outputs.mkdir(exist_ok=True)
        container = NewJob.model_fields["container"].default
        # Two videos may differ by their suffix alone.
        names = (f"{path.stem}.{container}", f"{path.name}.{container}")
        output = next((outputs / name for name in names if self._is_free(outputs / name)), outputs / names[0])
        try:
            await self._service.submit(NewJob.model_validate({"input": str(path), "output": str(output)}))
        except Refused as error:
            if error.status in _LATER:
                return
            _logger.warning("%s is not upscaled: %s", path, error)
        except PatchVSRError as error:
            _logger.warning("%s is not upscaled: %s", path, error)
        self._service.seen.add(path, stamp)

    def _is_free(self, output: Path) -> bool:
        return not output.exists() and all(job.output != str(output) for job in self._service.queue.all())
