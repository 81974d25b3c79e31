"""Ctrl-C once: finish what is begun, then stop. Twice: stop at once."""

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
    """The first Ctrl-C sets `requested` and says so, the second raises KeyboardInterrupt. For the main thread."""
    interrupts = Interrupts()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if interrupts.requested:
            raise KeyboardInterrupt
        interrupts.requested = True
        say("stopping after this unit; press Ctrl-C again to stop at once (finished units are kept)")

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as in the background of a shell, where Ctrl-C is not meant for us
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
