"""A clock time becomes a moment, and nothing starts that would end after it."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from patchvsr.errors import SettingsError
from patchvsr.jobs.clock import Until, parse_until

EVENING = datetime(2026, 3, 28, 22, 30, 15, 999)


def test_later_today():
    assert parse_until("23:05", EVENING) == datetime(2026, 3, 28, 23, 5)
    assert parse_until("22:31", EVENING) == datetime(2026, 3, 28, 22, 31)


def test_tomorrow_if_past():
    assert parse_until("07:00", EVENING) == datetime(2026, 3, 29, 7)
    assert parse_until("22:30", EVENING) == datetime(2026, 3, 29, 22, 30)
    assert parse_until("00:00", datetime(2026, 12, 31, 0, 0)) == datetime(2027, 1, 1)


def test_the_zone_stays():
    now = EVENING.replace(tzinfo=timezone(timedelta(hours=2)))
    assert parse_until("07:00", now) - now == timedelta(hours=8, minutes=29, seconds=44, microseconds=999001)


@pytest.mark.parametrize("text", ["", "7", "7:00", "07.00", "07:60", "24:00", "-1:00", "07:00:00", " 07:00", "٠٧:٠٠"])
def test_anything_else_is_refused(text):
    with pytest.raises(SettingsError, match="HH:MM"):
        parse_until(text, EVENING)


def test_nothing_starts_that_would_end_too_late():
    until = Until(EVENING + timedelta(minutes=10))
    assert until.should_start(600, EVENING)
    assert not until.should_start(601, EVENING)


def test_what_was_not_measured_may_start_until_the_deadline():
    until = Until(EVENING)
    assert until.should_start(None, EVENING - timedelta(seconds=1))
    assert not until.should_start(None, EVENING)
    assert not until.should_start(0.0, EVENING + timedelta(hours=1))


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows cannot change the zone of a process")
def test_a_change_of_clocks_is_counted(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # the night of 29 March 2026 has an hour less
    time.tzset()
    try:
        assert Until(parse_until("07:00", EVENING)).remaining_s(EVENING) == pytest.approx(7.5 * 3600 - 16, abs=1)
    finally:
        monkeypatch.undo()
        time.tzset()
