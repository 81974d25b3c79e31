"""The folder of a job: its manifest, its finished units, and a lock for a single process.

    clip.mkv.job/
      manifest.json            input, settings, model, versions, and the plan
      unit-00007.bin           segment: the encoded frames of a unit
      unit-00007.safetensors   what the next unit needs, if it cannot begin by itself: see `handover`
      unit-00007.json          table of the segment; a unit is done once this file exists
      result.json              contents of the finished output, and how each unit was made
      lock                     held while a process works on the job

While workers of a cluster work on it, there are also `probe.tmp`, by which they recognise the folder, and their
unfinished files, `unit-00007.bin.0123abcd.tmp`.

Files are written atomically: under a temporary name, flushed, then renamed. Only segments are written in place, because
they are valid only together with their table. Files that are not listed here are never removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from patchvsr import files
from patchvsr.errors import JobError
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.search import JOB_SUFFIX, MANIFEST
from patchvsr.media.contents import Contents
from patchvsr.media.segment import SegmentTable

if TYPE_CHECKING:
    from patchvsr.decoding import ClipState

RESULT, LOCK = "result.json", "lock"
_TEMPORARY = r"(\.tmp)?"  # left behind by a killed process
_RECORD = re.compile(r"(manifest|result)\.json" + _TEMPORARY)
# Eight digits name the worker of a cluster that writes the file.
_UNIT = re.compile(r"unit-[0-9]{5,}\.(bin|safetensors|json)(\.[0-9a-f]{8})?" + _TEMPORARY + r"|probe\.tmp")


@dataclass(frozen=True)
class UnitRecord:
    """Record of a finished unit. effort: seconds, threads, restorations, pieces after step-downs."""

    table: SegmentTable
    effort: dict[str, Any]


class JobFolder:
    """The folder `NAME.job` beside the output NAME; see the module docstring. `locked` creates it."""

    def __init__(self, output_path: Path, *, path: Path | None = None) -> None:
        """Use the folder beside `output_path`, or `path` if it is elsewhere."""
        self.path = path or files.beside(output_path, "{}" + JOB_SUFFIX)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, creating it if needed. On exit, a folder without a manifest is removed.

        Raises JobError if another process holds the lock, and OutputError if it cannot be written.
        """
        with files.reported(self.path, lambda: None):
            files.make_folder(self.path)
        lock = FileLock(self.path / LOCK)
        with files.reported(self.path, self._remove_if_empty):
            try:
                lock.acquire(timeout=0)
            except Timeout:  # a subclass of OSError that is no disk error
                raise JobError(f"{self.path}: another process is working on this job; wait for it or stop it") from None
        try:
            yield
        finally:
            if not (self.path / MANIFEST).exists():
                self.clear()
            with suppress(OSError):  # Windows removes it on release and not earlier
                (self.path / LOCK).unlink()
            lock.release()
            self._remove_if_empty()

    # --- manifest -----------------------------------------------------------------------------------------

    def read_manifest(self) -> Manifest | None:
        """Return the manifest, None for a new job. Raises JobError if it cannot be read."""
        stored = self._read(MANIFEST)
        return None if stored is None else Manifest.from_json(stored, self.path)

    def write_manifest(self, manifest: Manifest) -> None:
        self._write(MANIFEST, manifest.as_json())

    # --- units --------------------------------------------------------------------------------------------

    def segment_path(self, number: int) -> Path:
        return self.path / f"unit-{number:05d}.bin"

    def handover_path(self, number: int) -> Path:
        return self.path / f"unit-{number:05d}.safetensors"

    def is_done(self, number: int) -> bool:
        """Return whether table and segment exist. Users remove a damaged segment to have its unit restored again."""
        return (self.path / f"unit-{number:05d}.json").is_file() and self.segment_path(number).is_file()

    def read_unit(self, number: int) -> UnitRecord:
        """Return the record of a finished unit. Raises JobError if its segment does not have the recorded size."""
        stored = self._read(f"unit-{number:05d}.json")
        if stored is None:
            raise JobError(f"{self.path}: the record of unit {number} is missing; run the same command again")
        table = SegmentTable(**stored["table"])
        file = self.segment_path(number)
        if not file.is_file() or file.stat().st_size != sum(table.sizes):
            raise JobError(f"{file}: does not match its record; remove it and run the same command again")
        return UnitRecord(table, stored["effort"])

    def write_unit(self, number: int, record: UnitRecord, state: ClipState | None) -> None:
        """Mark a unit with a complete segment as done. `state` is what the next unit continues from, if it does."""
        if state is not None:
            from patchvsr.jobs.handover import write_handover

            with files.reported(self.path, lambda: None):
                write_handover(state, self.handover_path(number))
        self._write(f"unit-{number:05d}.json", {"effort": record.effort, "table": asdict(record.table)})

    def adopt_unit(self, number: int, record: UnitRecord, segment: Path, handover: Path | None) -> None:
        """Mark a unit as done whose files lie in this folder under other names, which they lose."""
        with files.reported(self.path, lambda: None):
            if handover is not None:
                files.move_file(handover, self.handover_path(number))
            files.move_file(segment, self.segment_path(number))
        self.write_unit(number, record, None)

    def read_handover(self, number: int) -> ClipState:
        """Return what a unit handed over. Raises JobError if it is missing or damaged."""
        from patchvsr.jobs.handover import read_handover

        file = self.handover_path(number)
        try:
            return read_handover(file)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            segment = self.segment_path(number).name
            raise JobError(f"{file}: cannot be read; remove {segment} and run the same command again") from error

    # --- the end ------------------------------------------------------------------------------------------

    def read_result(self) -> Contents | None:
        """Return the contents of the finished output, None if there is none yet. Raises JobError if damaged."""
        stored = self._read(RESULT)
        try:
            return None if stored is None else Contents.from_json(stored["output"])
        except (KeyError, TypeError) as error:
            raise JobError(
                f"{self.path / RESULT}: is damaged or of another version of patchvsr; remove {self.path} to start over"
            ) from error

    def read_efforts(self) -> list[dict[str, Any]]:
        """Return the `effort` of each unit of a finished job."""
        return (self._read(RESULT) or {"units": []})["units"]

    def write_result(self, contents: Contents, efforts: list[dict[str, Any]]) -> None:
        self._write(RESULT, {"units": efforts, "output": contents.as_json()})

    def has_units(self) -> bool:
        return any(self._files(_UNIT))

    def drop_units(self) -> None:
        """Remove all unit files, once the output contains the frames."""
        for file in self._files(_UNIT):
            file.unlink()

    def clear(self) -> None:
        """Remove all files of the job except the lock. The manifest goes first: without it, the rest is ignored."""
        for file in (*self._files(_RECORD), *self._files(_UNIT)):
            file.unlink()

    def _files(self, names: re.Pattern[str]) -> list[Path]:
        entries = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(file for file in entries if names.fullmatch(file.name))

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.path.rmdir()

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self.path / name
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(stored, dict):
                raise ValueError("not a JSON object")
            return stored
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise JobError(f"{file}: cannot be read ({error}); remove it, or {self.path} to start over") from error

    def _write(self, name: str, value: dict[str, Any]) -> None:
        with files.reported(self.path, lambda: None):
            files.write_durably(self.path / name, json.dumps(value, separators=(",", ":")).encode())
