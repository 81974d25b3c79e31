"""What is shown of several files in flight: every line, bar and event names its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchvsr.cli.display import Display
from patchvsr.events import (
    Assembling,
    Event,
    Finished,
    Notice,
    Planned,
    Progress,
    Scanning,
    Started,
    WorkerJoined,
    Workers,
    WorkerState,
)
from patchvsr.jobs.batch import Job
from patchvsr.pixels.size import Size

A, B = (Job(Path(f"in/{name}.mkv"), Path(f"out/{name}.mkv")) for name in "ab")


def begins(job: Job) -> Iterator[tuple[Job, Event]]:
    yield job, Started(str(job.input), str(job.output), Size(8, 8), Size(16, 16), 9, ())
    yield job, Scanning(9)
    yield job, Planned(f"{job.output}.job", 9, 1, 2, 1, 5)


def two_in_flight() -> Iterator[tuple[Job, Event]]:
    yield from begins(A)
    yield A, WorkerJoined("a/1", "a", "cpu")
    yield A, Workers((WorkerState("a/1", "a", "cpu", 1, 2, 1.5),), 1.5, 2.0)
    yield from begins(B)
    yield B, Workers((WorkerState("b/2", "b", "cpu", 0, 1, None),), 0.0, None)
    yield B, Notice("unit 1 failed on b/2: why")
    yield A, Progress(9)
    yield A, Assembling()
    yield A, Finished("out/a.mkv", 9, 3.0)


def show(shown: Display) -> None:
    for job, event in two_in_flight():
        if isinstance(event, Started):
            shown.begin(job)
        shown.show(job, event)


def test_every_event_of_a_file_has_its_input(capsys: pytest.CaptureFixture[str]) -> None:
    show(Display(True, at_once=True))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [None if isinstance(event, WorkerJoined) else str(job.input) for job, event in two_in_flight()]
    assert [event.get("input") for event in told] == expected


def test_events_of_one_file_at_a_time_are_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    Display(True).show(A, Progress(3))
    assert json.loads(capsys.readouterr().out) == {"event": "progress", "frames": 3}


def test_lines_about_a_file_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    show(Display(False, at_once=True))
    assert capsys.readouterr().err.splitlines() == [
        "in/a.mkv (8x8) -> out/a.mkv (16x16)",
        "in/a.mkv: resuming: 1 of 2 units are done",
        "worker a/1 joined: cpu on a",
        "in/b.mkv (8x8) -> out/b.mkv (16x16)",
        "in/b.mkv: resuming: 1 of 2 units are done",
        "in/b.mkv: unit 1 failed on b/2: why",
        "out/a.mkv: 9 frames in, 9 out, 3.0 seconds",
    ]


def test_there_is_a_bar_for_every_file_in_flight() -> None:
    shown = Display(False, at_once=True)
    bars: list[list[str]] = []
    for job, event in two_in_flight():
        if isinstance(event, Started):
            shown.begin(job)
        shown.show(job, event)
        progress = shown._bars._progress
        bars.append([] if progress is None else [task.description for task in progress.tasks])
    assert bars[4] == ["a.mkv: restoring on 1 workers, 1.50 fps, 0:00:02 left", "  a/1 (cpu): a.mkv: unit 1, 1.50 fps"]
    assert bars[-2] == ["a.mkv: assembling", "b.mkv: restoring on 1 workers, 0.00 fps", "  b/2 (cpu): b.mkv: unit 0"]
    assert bars[-1] == bars[-2][1:]
    shown.ended(B)
    assert shown._bars._progress is None, "a bar would stay on the terminal"
