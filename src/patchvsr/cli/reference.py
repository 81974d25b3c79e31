"""Write docs/cli.md, the reference of every command: `python -m patchvsr.cli.reference docs/cli.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import typer

_INTRODUCTION = """\
# Commands

Written by `make docs` from the commands themselves; do not edit. `patchvsr COMMAND --help` shows the same, and
`patchvsr --version` the version. `python -m patchvsr` is another way to write `patchvsr`.
"""
_VALUES = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def render(app: typer.Typer) -> str:
    """Return the reference of all commands of `app` as Markdown, the same on every machine and terminal."""
    # Typer's objects are click's, from click or from a copy inside typer; only attributes that both have are used.
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    contents = "\n".join(f"- [`{name}`](#{name}): {_summary(command)}" for name, command in commands.items())
    return "\n".join([_INTRODUCTION, contents, *(_section(name, command) for name, command in commands.items())])


def _summary(command: Any) -> str:
    """Return the first paragraph of the help of a command, in one line."""
    return " ".join(command.help.split("\n\n")[0].split())


def _section(name: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    options = [parameter for parameter in shown if parameter.param_type_name == "option"]
    words = [_placeholder(argument) for argument in arguments]
    needed = [f"{option.opts[0]} {_value(command, option)}" for option in options if option.required]
    others = ["[OPTIONS]"] if len(needed) < len(options) else []
    lines = ["", f"## {name}", "", "```", " ".join(["patchvsr", name, *words, *needed, *others]), "```", ""]
    lines += [command.help]
    lines += _table("argument", ((_placeholder(p).strip("[]"), p) for p in arguments))
    lines += _table("option", ((_spelling(command, p), p) for p in options))
    return "\n".join(lines)


def _table(kind: str, parameters: Iterator[tuple[str, Any]]) -> list[str]:
    rows = [
        f"| `{_escaped(name)}` | {_escaped(parameter.help or '')} | {_default(parameter)} |"
        for name, parameter in parameters
    ]
    return ["", f"| {kind} | | default |", "|---|---|---|", *rows] if rows else []


def _placeholder(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _spelling(command: Any, option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {_value(command, option)}"


def _value(command: Any, option: Any) -> str:
    """The metavar, else the kind of value, read from the function behind the command."""
    if option.metavar:
        return option.metavar
    hint, *_ = get_args(inspect.signature(command.callback, eval_str=True).parameters[option.name].annotation)
    (kind,) = (part for part in get_args(hint) or [hint] if part is not NoneType)
    return _VALUES[get_args(kind)[0] if get_args(kind) else kind]  # of a list, that of each


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return _escaped(parameter.show_default)
    if parameter.default is None or parameter.default is False:
        return ""
    if parameter.secondary_opts:
        return f"`{parameter.opts[0]}`"
    return f"`{parameter.default}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    from patchvsr.cli.main import app

    Path(sys.argv[1]).write_text(render(app) + "\n", encoding="utf-8")
