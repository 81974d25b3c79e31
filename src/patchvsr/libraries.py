"""Import torch, diffusers and what they import: nearly all of the time that a command takes to begin."""

from __future__ import annotations

import gc
import sys


def import_libraries() -> None:
    """Import them without looking for garbage meanwhile, and never look at them again.

    They create about a million objects, nearly all of which stay. Python's garbage collector would search them several
    times while they are imported, a fifth of the time, and again with each full collection. `gc.freeze` also keeps
    whatever is garbage now, so this is for processes of our own, not for programs that use this package.
    """
    if "patchvsr.loading" in sys.modules:
        return
    gc.disable()
    try:
        import patchvsr.loading  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
