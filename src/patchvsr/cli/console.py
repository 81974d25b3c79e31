"""What the commands share: the console for people, exit codes, KEY=VALUE."""

from __future__ import annotations

from rich.console import Console

from patchvsr.errors import SettingsError

# Exit codes: not everything was done; the user can mend it; stopped by Ctrl-C.
NOT_ALL_DONE, USER_ERROR, INTERRUPTED = 1, 2, 130

console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Read the repeated KEY=VALUE of an option. Raises SettingsError for a text that is none."""
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise SettingsError(f"{option} {text!r} is not KEY=VALUE")
        found[key] = value
    return found
