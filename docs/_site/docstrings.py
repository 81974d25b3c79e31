"""Show settings with their defaults, and the fields that docstrings describe, `name: what it is`, as a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

_FIELD = re.compile(r"^(?P<names>[a-z_]+(?:, [a-z_]+)*): ")


class OwnStyle(griffe.Extension):
    """Griffe reads sections of Google's style. This package describes the fields of a class in plain lines."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_lists(obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Of `setting(default, help, ...)`, show the default."""
        value = attr.value
        if isinstance(value, griffe.ExprCall) and str(value.function) == "setting":
            attr.value = value.arguments[0]


def with_lists(text: str) -> str:
    """Return a docstring with every line `name: text`, and the indented ones after it, as an item of a list."""
    lines: list[str] = []
    in_list = False
    for line in text.splitlines():
        if match := _FIELD.match(line):
            names = ", ".join(f"`{name}`" for name in match["names"].split(", "))
            lines += [*([] if in_list else [""]), f"- {names}: {line[match.end() :]}"]
            in_list = True
        else:
            in_list = in_list and line.startswith("    ")
            lines.append(line)
    return "\n".join(lines)
