"""Load and save presets: settings of an upscale, by name or in a TOML file with one table per group."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w

from patchvsr import files
from patchvsr.errors import OutputError, SettingsError
from patchvsr.settings import RestoreSettings, UpscaleSettings, setting_groups

NAMED = {"fast": UpscaleSettings(restore=RestoreSettings(model="fast"))}


def load_preset(name_or_path: str | Path) -> UpscaleSettings:
    """Return a preset by its name, or read it from a file (`./fast` is a file, `fast` a name).

    Raises SettingsError for an unreadable file, or an unknown setting, type or value.
    """
    if str(name_or_path) in NAMED:
        return NAMED[str(name_or_path)]
    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        raise SettingsError(f"unknown preset {str(path)!r}: give {', '.join(NAMED)}, or a file")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read as a preset ({error})") from None
    for table, values in tables.items():
        if table not in setting_groups() or not isinstance(values, dict):
            raise SettingsError(
                f"{path}: unknown table [{table}]: give {', '.join(f'[{n}]' for n in setting_groups())}"
            )
    try:
        groups = {name: group(**_checked(group, tables.get(name, {}))) for name, group in setting_groups().items()}
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return UpscaleSettings(**groups)


def save_preset(settings: UpscaleSettings, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the settings that differ from the defaults. Raises OutputError if the file exists, unless `overwrite`.

    Settings for a single file or machine (`overwrite`, streams to skip, the device) are left out.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: already exists; use --overwrite or another name")
    tables = {name: _changed(getattr(settings, name)) for name in setting_groups()}
    text = tomli_w.dumps({name: values for name, values in tables.items() if values})
    files.write_text(path, text)


def _changed(group: Any) -> dict[str, Any]:
    kept, defaults = [field.name for field in fields(group) if field.metadata.get("in_presets", True)], type(group)()
    return {name: getattr(group, name) for name in kept if getattr(group, name) != getattr(defaults, name)}


def _checked(group: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a table, converted to the types of the group's fields."""
    hints, known = get_type_hints(group), [field.name for field in fields(group)]
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}: choose one of {', '.join(known)}")
        checked[name] = _converted(name, value, hints[name])
    return checked


def _converted(name: str, value: Any, hint: Any) -> Any:
    """Convert a TOML value to the type of a field: integers to floats, lists to tuples."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if isinstance(hint, UnionType) else [hint]
    (kind,) = kinds
    if kind is float and type(value) is int:
        return float(value)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_converted(f"{name}[{i}]", part, get_args(kind)[0]) for i, part in enumerate(value))
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: _converted(f"{name}.{key}", part, get_args(kind)[1]) for key, part in value.items()}
    if type(value) is not kind:
        needed = {tuple: "list", dict: "table"}.get(get_origin(kind), kind.__name__)
        raise SettingsError(f"{name} is {value!r}: a value of type {needed} is needed")
    return value
