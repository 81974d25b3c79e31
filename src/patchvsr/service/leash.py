"""Run a module in a process that ends when its parent does: `python -m patchvsr.service.leash LOCK MODULE WORD...`.

The parent holds the other end of standard input. When it is gone, even by `kill -9`, this process ends at once, which
jobs survive. The next service may start the same work again before that: it waits for the lock.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

from filelock import FileLock


def main() -> None:
    lock, module, *words = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C is switched off in a service that a shell has started in the background, and so in its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with FileLock(lock):
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    os.read(0, 1)  # returns at the end of the file only, as nothing is ever sent
    os._exit(1)


if __name__ == "__main__":
    main()
