"""Share the console, the exit codes and KEY=VALUE parsing between the commands."""

from __future__ import annotations

from rich.console import Console

from patchvsr.errors import SettingsError

# Exit codes: not everything was done; an error that the user can fix; stopped by Ctrl-C.
NOT_ALL_DONE, USER_ERROR, INTERRUPTED = 1, 2, 130

console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Parse the KEY=VALUE texts of a repeatable option. Raises SettingsError for any other text."""
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise SettingsError(f"{option} {text!r} is not KEY=VALUE")
        found[key] = value
    return found
