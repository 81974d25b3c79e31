"""Confine paths to the folders that a service was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchvsr.jobs.folder import JobFolder
from patchvsr.service.refusals import Refused

CONTAINERS = (".mkv", ".mp4", ".mov", ".webm")


class Places:
    def __init__(self, folders: Sequence[Path]) -> None:
        self._roots = [folder.resolve() for folder in folders]

    def input(self, text: str) -> Path:
        """Return the real path of a file to read. Raises Refused unless it is a file in one of the folders."""
        path = self._inside(text)
        if not path.is_file():
            raise Refused(404, f"{text}: no such file; check the path")
        return path

    def output(self, text: str) -> Path:
        """Return the real path of a video to write. Raises Refused unless it is a new file in one of the folders."""
        path = self._inside(text)
        if path.suffix.lower() not in CONTAINERS or "%" in path.name:
            raise Refused(422, f"{text}: name the output {', '.join(CONTAINERS)}, without a percent sign")
        if not path.parent.is_dir():
            raise Refused(404, f"{text}: its folder does not exist; create it first")
        if path.exists() or JobFolder(path).path.exists():
            raise Refused(409, f"{text}: it, or a job folder of that name, already exists; choose another name")
        return path

    def _inside(self, text: str) -> Path:
        """Resolve links and "..", whether the path exists or not: outside, an answer must not tell."""
        try:
            path = Path(text)
            real = path.resolve() if path.is_absolute() else None
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, a circle of links
            real = None
        if real is None or not any(real.is_relative_to(root) for root in self._roots):
            allowed = ", ".join(map(str, self._roots)) or "none, so upload the file"
            raise Refused(403, f"{text}: not in a folder of this service; give an absolute path in one of: {allowed}")
        return real
