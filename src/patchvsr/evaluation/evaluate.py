"""Evaluate outputs, or methods on a set: run what is to be run, measure every clip, and report after each.

Every clip has a record of its own. If the command is stopped and repeated, outputs that methods have made are kept,
and so are records of the same files and settings.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchvsr import files
from patchvsr.evaluation.clips import Clip
from patchvsr.evaluation.machine import machine, versions
from patchvsr.evaluation.measure import MeasureSettings, Record, files_of, measure
from patchvsr.evaluation.methods import Method, Run, run
from patchvsr.evaluation.rendering import write_numbers, write_pictures
from patchvsr.evaluation.summary import MEASURED, differences, means
from patchvsr.measures.panel import ALL_SCORES
from patchvsr.media.tensors import read_rgb

FORMAT = 1


@dataclass(frozen=True)
class Case:
    """One clip by one method, called `name`. method: None where the output is given."""

    name: str
    clip: Clip
    method: Method | None = None


@dataclass(frozen=True)
class Running:
    """A method begins to restore a clip. done, total: cases."""

    case: Case
    done: int
    total: int


@dataclass(frozen=True)
class Measuring:
    """`frames` of a clip are measured."""

    case: Case
    frames: int
    done: int
    total: int


@dataclass(frozen=True)
class Reported:
    """The report is written, with the records of `done` of `total` cases."""

    report: dict[str, Any]
    written: list[Path]
    done: int
    total: int


Event = Running | Measuring | Reported


def evaluate(
    cases: Sequence[Case], folder: Path, settings: MeasureSettings, *, scale: float = 4, vsreval: bool = False
) -> Iterator[Event]:
    """Yield the events of an evaluation that writes into `folder`; see docs/evaluation.md.

    Raises the errors of `run` and `measure`; what was reported before stays.
    """
    records: list[Record] = []
    created = datetime.now(UTC).isoformat(timespec="seconds")
    for done, case in enumerate(cases):
        # 1. What the method makes, unless it is there.
        made: Run | None = None
        if method := case.method:
            output, lq = folder / "outputs" / case.name / f"{case.clip.name}.mkv", case.clip.lq
            assert lq is not None
            case = replace(case, clip=replace(case.clip, output=output))
            yield Running(case, done, len(cases))
            made = run(method, lq, output, scale)
        # 2. Its record, unless it is there.
        path = folder / "clips" / case.name / f"{case.clip.name}.json"
        record = read_record(path, case, settings)
        if record is None:
            found = yield from _measured(case, settings, done, len(cases))
            record = found | {"method": case.name, "run": made and asdict(made) | {"frames": _count(case.clip)}}
            files.write_text(path, json.dumps(record, indent=1, allow_nan=False), parents=True)
        records.append(record)
        # 3. The report of all records so far, so that none is lost if a later clip fails.
        report = {"created": created, **report_of(records, settings)}
        yield Reported(report, write_numbers(report, folder), done + 1, len(cases))
    if records:
        yield Reported(report, write_pictures(report, folder, vsreval=vsreval), len(cases), len(cases))


def report_of(records: Sequence[Record], settings: MeasureSettings) -> dict[str, Any]:
    """Return the report of records, but for its date; see docs/evaluation.md."""
    found = means(records)
    seen = {name for scores in found.values() for name in scores}
    against = next(iter(found))
    return {
        "format": FORMAT,
        "machine": machine(),
        "versions": versions(),
        "settings": asdict(settings),
        "scores": [asdict(score) for score in (*ALL_SCORES, *MEASURED) if score.name in seen],
        "missing": {name: reason for record in records for name, reason in record["missing"].items()},
        "clips": list(records),
        "means": found,
        "differences": {"against": against, "methods": differences(records, against)},
    }


def read_record(path: Path, case: Case, settings: MeasureSettings) -> Record | None:
    """Return the record of a case if it was measured on the same files with the same settings."""
    try:
        record: Record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    same = record.get("settings") == _as_json(asdict(settings)) and record.get("files") == files_of(case.clip)
    return record if same else None


def _measured(case: Case, settings: MeasureSettings, done: int, total: int) -> Generator[Measuring, None, Record]:
    frames = measure(case.clip, settings)
    while True:
        try:
            yield Measuring(case, next(frames), done, total)
        except StopIteration as finished:
            return finished.value


def _count(clip: Clip) -> int:
    """Return the number of frames that a method restored, of which fewer may be measured."""
    assert clip.output is not None
    return clip.frames or sum(1 for _ in read_rgb(clip.output))


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
