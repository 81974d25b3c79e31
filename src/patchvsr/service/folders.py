"""Where the service keeps the files of a job and of an upload. No name in it comes from a client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from patchvsr.errors import SettingsError
from patchvsr.files import make_folder, reported


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Create the data folder and keep other services from it. Raises SettingsError if one uses it."""
    with reported(data, lambda: None):
        make_folder(data)
    lock = FileLock(data / "service.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingsError(f"{data}: another service uses this folder; stop it or give another --data") from None
    try:
        yield
    finally:
        lock.release()


class JobFiles:
    """The folder `jobs/ID` of the data folder. The output is in it unless the client named another place."""

    def __init__(self, data: Path, id: str) -> None:
        self.folder = data / "jobs" / id
        self.preset = self.folder / "settings.toml"
        self.errors = self.folder / "errors.txt"
        self.lock = self.folder / "lock"

    def output(self, suffix: str) -> Path:
        return self.folder / f"output{suffix}"

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
