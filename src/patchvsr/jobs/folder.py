"""A job's folder: what it is about, written once; what each unit has become; and that only one process works on it.

    clip.mkv.job/
      manifest.json            input, settings, model, versions, and the plan
      unit-00007.bin           encoded frames of a unit
      unit-00007.safetensors   what the next unit needs, if it continues the shot: see `clip.Handover`
      unit-00007.json          its table: with this file, the unit is done
      result.json              what is in the finished output, and how each unit was made

Every file is whole or not there: written under another name, flushed, renamed. Segments alone are written in place, for
they count only with their table. Nothing that is not listed here is ever removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from patchvsr import files
from patchvsr.errors import JobError
from patchvsr.jobs.handover import Handover
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.search import JOB_SUFFIX, MANIFEST
from patchvsr.media.contents import Contents
from patchvsr.media.segment import SegmentTable

RESULT, LOCK = "result.json", "lock"
_TEMPORARY = r"(\.tmp)?"  # what a killed process was writing
_RECORD = re.compile(r"(manifest|result)\.json" + _TEMPORARY)
_UNIT = re.compile(r"unit-[0-9]{5,}\.(bin|safetensors|json)" + _TEMPORARY)


@dataclass(frozen=True)
class UnitRecord:
    """What a unit has become. `effort` is how it was made: seconds, restoration of each chunk, sizes, step-downs."""

    table: SegmentTable
    effort: dict[str, Any]


class JobFolder:
    """The folder `NAME.job` beside the output NAME; see the module's text. Nothing is created before `locked`."""

    def __init__(self, output_path: Path, *, path: Path | None = None) -> None:
        """path: of the folder itself, if it is not beside the output."""
        self.path = path or files.beside(output_path, "{}" + JOB_SUFFIX)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder, creating it. Raises JobError when another process does, OutputError for a full disk.

        A folder without a manifest in the end is removed again.
        """
        with files.reported(self.path, lambda: None):
            files.make_folder(self.path)
        lock = FileLock(self.path / LOCK)
        with files.reported(self.path, self._remove_if_empty):
            try:
                lock.acquire(timeout=0)
            except Timeout:  # is an OSError, but none of the disk
                raise JobError(f"{self.path}: another process is working on this job; wait for it or stop it") from None
        try:
            yield
        finally:
            if not (self.path / MANIFEST).exists():
                self.clear()
            with suppress(OSError):  # Windows removes it with the release, and not before
                (self.path / LOCK).unlink()
            lock.release()
            self._remove_if_empty()

    # --- manifest -----------------------------------------------------------------------------------------

    def read_manifest(self) -> Manifest | None:
        """None when the job is new; raises JobError for one that cannot be read."""
        stored = self._read(MANIFEST)
        return None if stored is None else Manifest.from_json(stored, self.path)

    def write_manifest(self, manifest: Manifest) -> None:
        self._write(MANIFEST, manifest.as_json())

    # --- units --------------------------------------------------------------------------------------------

    def segment_path(self, number: int) -> Path:
        return self.path / f"unit-{number:05d}.bin"

    def is_done(self, number: int) -> bool:
        """A unit whose segment was removed, because it was damaged, is not."""
        return (self.path / f"unit-{number:05d}.json").is_file() and self.segment_path(number).is_file()

    def read_unit(self, number: int) -> UnitRecord:
        """Of a unit that is done. Raises JobError when its frames are not those that were written."""
        stored = self._read(f"unit-{number:05d}.json")
        if stored is None:
            raise JobError(f"{self.path}: unit {number} is gone; run the same command again")
        table = SegmentTable(**stored["table"])
        file = self.segment_path(number)
        if not file.is_file() or file.stat().st_size != sum(table.sizes):
            raise JobError(f"{file}: is not as it was written; remove it and run the same command again")
        return UnitRecord(table, stored["effort"])

    def write_unit(self, number: int, record: UnitRecord, handover: Handover | None) -> None:
        """Marks a unit done whose segment is complete; `handover` is what the next unit needs."""
        if handover is not None:
            import torch
            from safetensors.torch import save

            tensors = {}
            if handover.restoration is not None:
                tensors["restoration"] = torch.tensor(handover.restoration, dtype=torch.float64)
            if handover.latents is not None:
                tensors["latents"] = handover.latents.contiguous()
            with files.reported(self.path, lambda: None):
                files.write_durably(self._handover_path(number), save(tensors))
        self._write(f"unit-{number:05d}.json", {"effort": record.effort, "table": asdict(record.table)})

    def read_handover(self, number: int) -> Handover:
        """What a unit hands on. Raises JobError when it is not there or damaged."""
        from safetensors.torch import load

        file = self._handover_path(number)
        try:
            tensors = load(file.read_bytes())
            restoration = tensors["restoration"].item() if "restoration" in tensors else None
            return Handover(tensors.get("latents"), restoration)
        except (OSError, SafetensorError) as error:
            segment = self.segment_path(number).name
            raise JobError(f"{file}: cannot be read; remove {segment} and run the same command again") from error

    # --- the end ------------------------------------------------------------------------------------------

    def read_result(self) -> Contents | None:
        """What is in the finished output; None if the job has none yet."""
        stored = self._read(RESULT)
        try:
            return None if stored is None else Contents.from_json(stored["output"])
        except (KeyError, TypeError) as error:
            raise JobError(
                f"{self.path / RESULT}: is damaged or of another version of patchvsr; remove {self.path} to start anew"
            ) from error

    def read_efforts(self) -> list[dict[str, Any]]:
        """How each unit of a finished job was made."""
        return (self._read(RESULT) or {"units": []})["units"]

    def write_result(self, contents: Contents, efforts: list[dict[str, Any]]) -> None:
        self._write(RESULT, {"units": efforts, "output": contents.as_json()})

    def has_units(self) -> bool:
        return any(self._files(_UNIT))

    def drop_units(self) -> None:
        """The output holds them now."""
        for file in self._files(_UNIT):
            file.unlink()

    def clear(self) -> None:
        """Removes what a job writes, the lock aside. The manifest goes first: what is left without it is of no job."""
        for file in (*self._files(_RECORD), *self._files(_UNIT)):
            file.unlink()

    def _files(self, names: re.Pattern[str]) -> list[Path]:
        there = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(file for file in there if names.fullmatch(file.name))

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.path.rmdir()

    def _handover_path(self, number: int) -> Path:
        return self.path / f"unit-{number:05d}.safetensors"

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self.path / name
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(stored, dict):
                raise ValueError("it holds no record")
            return stored
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise JobError(f"{file}: cannot be read ({error}); remove it, or {self.path} to start anew") from error

    def _write(self, name: str, value: dict[str, Any]) -> None:
        with files.reported(self.path, lambda: None):
            files.write_durably(self.path / name, json.dumps(value, separators=(",", ":")).encode())
