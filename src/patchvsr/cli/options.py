"""Give a command one option per setting, generated from the fields of the settings classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from patchvsr.cli.console import pairs
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.errors import SettingsError
from patchvsr.presets import load_preset, save_preset
from patchvsr.settings import UpscaleSettings, setting_groups

_PRESET = Annotated[
    str | None,
    typer.Option(metavar="fast|FILE.toml", help="Settings by name, or from a file; options override them."),
]
_SAVE_PRESET = Annotated[
    Path | None,
    typer.Option("--save-preset", metavar="FILE.toml", help="Also write the settings of this command to a new file."),
]


def takes_settings(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter `settings: UpscaleSettings` by options, and build it from their values.

    An option that is not given keeps the preset's value, else the default. without: settings that get no option.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = [parameter for parameter in _settings_parameters() if parameter.name not in without]
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]

        @functools.wraps(command)
        def run(context: typer.Context, preset: str | None, save_preset_to: Path | None, **values: Any) -> None:
            given = {
                option.name: _value(option.name, values[option.name])
                for option in options
                if _is_given(context, option.name)
            }
            start = UpscaleSettings() if preset is None else load_preset(preset)
            settings = start.overridden(**given)
            if save_preset_to is not None:
                save_preset(settings, save_preset_to, overwrite=settings.encode.overwrite)
            command(**{p.name: values[p.name] for p in own}, settings=settings)

        keyword = inspect.Parameter.KEYWORD_ONLY
        presets = [
            inspect.Parameter("preset", keyword, default=None, annotation=_PRESET),
            inspect.Parameter("save_preset_to", keyword, default=None, annotation=_SAVE_PRESET),
        ]
        context = inspect.Parameter("context", keyword, annotation=typer.Context)
        parameters = [context, *(p.replace(kind=keyword) for p in own), *options, *presets]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _settings_parameters() -> list[inspect.Parameter]:
    """Return one parameter per setting that is declared with `setting`, in the order of the classes."""
    return [
        _parameter(field, get_type_hints(group)[field.name])
        for group in setting_groups().values()
        for field in fields(group)
        if "help" in field.metadata
    ]


def _parameter(field: Field[Any], hint: Any) -> inspect.Parameter:
    default = None if field.default is MISSING or field.default == () else field.default
    hint = {dict[str, str]: list[str] | None, tuple[int, ...]: list[int] | None}.get(hint, hint)
    data = field.metadata
    option = typer.Option(
        *data["flags"], help=data["help"], metavar=data["metavar"], show_default=data["default_text"] or True
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, keyword, default=default, annotation=Annotated[hint, option])


def _value(name: str, value: Any) -> Any:
    """Convert the value of an option to the type of its setting."""
    if name == "encoder_options":
        return pairs(value, "-e")
    return tuple(value) if isinstance(value, list) else value


def ray_option(what: str, *, show_default: str) -> Any:
    """Return the option for the address of a cluster. what: begins its help, such as "Restore on a Ray cluster"."""
    return typer.Option(
        metavar="ADDRESS",
        help=f"{what}: auto (RAY_ADDRESS, or this machine's), local, or ray://HOST:10001.",
        show_default=show_default,
    )


def cluster_settings(address: str | None, **options: Any) -> ClusterSettings | None:
    """Return the settings of a cluster, None without an address. Raises SettingsError for options that need one."""
    given = {name: value for name, value in options.items() if value is not None}
    if address is None:
        if given:
            raise SettingsError(f"--{next(iter(given)).replace('_', '-')} is for a cluster: give --ray as well")
        return None
    return ClusterSettings(address, **given)
