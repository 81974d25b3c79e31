"""Every client sees every event once, whenever it connects."""

import asyncio
from contextlib import aclosing

import pytest

from patchvsr.service.database import Bell, connect
from patchvsr.service.events import EventLog


@pytest.fixture
def log(tmp_path):
    return EventLog(connect(tmp_path / "service.sqlite"), Bell())


def _kinds(events):
    return [event.data["event"] for event in events]


def test_events_are_those_after_a_number_of_one_job_or_of_all(log):
    for job, kind in (("a", "started"), ("b", "started"), ("a", "planned")):
        log.add(job, kind)
    first, second, third = log.after(0)
    assert [(e.data["job"], e.data["event"]) for e in (first, second, third)] == [
        ("a", "started"), ("b", "started"), ("a", "planned"),
    ]  # fmt: skip
    assert list(log.after(first.number)) == [second, third]
    assert list(log.after(first.number, "a")) == [third]
    assert log.last_number() == third.number


def test_progress_replaces_the_progress_before_it(log):
    log.add("a", "planned")
    for frames in range(5):
        log.add("a", "progress", {"frames": frames})
        log.add("b", "progress", {"frames": frames})
    log.add("a", "assembling")
    assert _kinds(log.after(0, "a")) == ["planned", "progress", "assembling"]
    assert next(e for e in log.after(0, "a") if e.data["event"] == "progress").data["frames"] == 4
    assert _kinds(log.after(0, "b")) == ["progress"]


def test_what_a_command_says_cannot_pass_for_another_job(log):
    log.add("a", "planned", {"job": "b", "event": "finished"})
    (event,) = log.after(0)
    assert (event.data["job"], event.data["event"]) == ("a", "planned")


def test_a_client_that_connects_again_misses_nothing(log):
    """It reads some, goes, comes back at each point, and the rest is always the same."""
    kinds = ["started", "planned", "notice", "assembling", "finished"]

    async def read(after, count):
        async with aclosing(log.follow(after)) as events:
            return [await anext(events) for _ in range(count)]

    async def read_all():
        following = asyncio.create_task(read(0, len(kinds)))
        for kind in kinds:
            await asyncio.sleep(0)  # the client reads meanwhile
            log.add("a", kind)
        whole = await following
        for index, event in enumerate(whole[:-1]):
            assert await read(event.number, len(kinds) - index - 1) == whole[index + 1 :]
        return whole

    assert _kinds(asyncio.run(read_all())) == kinds


def test_numbers_are_never_used_again(tmp_path, log):
    log.add("a", "started")
    last = log.last_number()
    log.forget("a")
    again = EventLog(connect(tmp_path / "service.sqlite"), Bell())
    again.add("b", "started")
    assert again.last_number() > last
