"""Ctrl-C once: finish what is begun, then stop. Twice, or SIGTERM once: stop at once.

SIGTERM comes from a machine that shuts down or a service manager, which kill a few seconds later: no time for a unit.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """`requested` turns true with the first Ctrl-C."""

    requested = False


@contextmanager
def two_step_interrupts(say: Callable[[str], None]) -> Iterator[Interrupts]:
    """The first Ctrl-C sets `requested` and says so; the second, or SIGTERM, raises KeyboardInterrupt.

    For the main thread.
    """
    interrupts = Interrupts()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if interrupts.requested or number == signal.SIGTERM:
            raise KeyboardInterrupt
        interrupts.requested = True
        say("stopping after this unit; press Ctrl-C again to stop at once (finished units are kept)")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Ignored as in the background of a shell: not meant for us. None: not set from Python, and not to be set back.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, on_interrupt)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
