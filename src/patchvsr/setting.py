"""Declare a setting once: its default, its help and its command-line flags are one field of a dataclass."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any,
    help: str,
    *flags: str,
    metavar: str | None = None,
    default_text: str | None = None,
    shapes_output: bool = True,
    in_presets: bool = True,
) -> Any:
    """Make a dataclass field that the command line offers as an option.

    Args:
        default: a value. For any dict, the default is a new empty dict.
        help: one sentence for `--help`.
        flags: names of the option; default `--` and the field's name.
        metavar: how the value is shown in `--help`.
        default_text: how a default of None is shown.
        shapes_output: whether a job records the value, because it can change a byte of the output.
        in_presets: whether `--save-preset` keeps it.
    """
    metadata = {
        "help": help,
        "flags": flags,
        "metavar": metavar,
        "default_text": default_text,
        "shapes_output": shapes_output,
        "in_presets": in_presets,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)
