"""Stop in time: a job told to run until seven in the morning starts nothing that would end later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from patchvsr.errors import SettingsError

_CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def parse_until(text: str, now: datetime) -> datetime:
    """The next moment at which a clock shows `text`, "HH:MM": today, or tomorrow if that is past or just now.

    Raises SettingsError for anything but two digits, a colon and two digits from 00:00 to 23:59.
    """
    match = _CLOCK_TIME.fullmatch(text)
    if not match:
        raise SettingsError(f"time {text!r} is not understood: give HH:MM from 00:00 to 23:59, for example 07:00")
    moment = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


@dataclass(frozen=True)
class Until:
    """A deadline that no piece of work may miss. Times without a zone are local times."""

    deadline: datetime

    def remaining_s(self, now: datetime) -> float:
        """Seconds until the deadline, negative after it."""
        # Not `deadline - now`: local times may have a change of clocks between them.
        return self.deadline.timestamp() - now.timestamp()

    def should_start(self, next_duration_s: float | None, now: datetime) -> bool:
        """Whether work of this expected length may start; None, not measured yet, may until the deadline itself."""
        remaining_s = self.remaining_s(now)
        return remaining_s > 0 and (next_duration_s or 0.0) <= remaining_s
