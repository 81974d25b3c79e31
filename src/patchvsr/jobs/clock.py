"""Stop in time: a job with a deadline starts no work that would end after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from patchvsr.errors import SettingsError

_CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def parse_until(text: str, now: datetime) -> datetime:
    """Return the next moment after `now` at which a clock shows `text`, "HH:MM": today or tomorrow.

    Raises SettingsError unless `text` is two digits, a colon and two digits, from 00:00 to 23:59.
    """
    match = _CLOCK_TIME.fullmatch(text)
    if not match:
        raise SettingsError(f"time {text!r} is not understood: give HH:MM from 00:00 to 23:59, for example 07:00")
    moment = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


@dataclass(frozen=True)
class Until:
    """A deadline by which all work must have ended. Naive datetimes are local times."""

    deadline: datetime

    def remaining_s(self, now: datetime) -> float:
        """Return the seconds until the deadline, negative after it."""
        # Not `deadline - now`: daylight saving time may begin or end between two local times.
        return self.deadline.timestamp() - now.timestamp()

    def should_start(self, next_duration_s: float | None, now: datetime) -> bool:
        """Return whether work of this expected duration may start. None (unknown) may start until the deadline."""
        remaining_s = self.remaining_s(now)
        return remaining_s > 0 and (next_duration_s or 0.0) <= remaining_s
