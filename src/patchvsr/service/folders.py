"""Where the service keeps the files of a job and of an upload. No name in it comes from a client."""

from __future__ import annotations

import shutil
from pathlib import Path


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
