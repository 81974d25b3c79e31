"""Handle Ctrl-C in two steps: the first stops after the current piece of work, the second stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """State of the handler. `requested` becomes True at the first Ctrl-C."""

    requested = False


@contextmanager
def two_step_interrupts(say: Callable[[], None] | None = None, *, sigterm_waits: bool = False) -> Iterator[Interrupts]:
    """Set `requested` at the first Ctrl-C, after calling `say`; raise KeyboardInterrupt at the second.

    SIGTERM raises KeyboardInterrupt, because a shutdown or a service manager kills the process a few seconds later.
    With `sigterm_waits`, for pieces of work shorter than that, it sets `requested` instead.
    Works in the main thread only.
    """
    interrupts = Interrupts()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        at_once = interrupts.requested if number == signal.SIGINT else not sigterm_waits
        if at_once:
            raise KeyboardInterrupt
        interrupts.requested = True
        if say is not None:
            say()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # SIG_IGN, as in background jobs of a shell, is kept. None was set outside Python and cannot be restored.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, on_interrupt)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
