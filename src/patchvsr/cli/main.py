"""The entry point of the command line, and the commands that need no settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from patchvsr.cli import evaluate as cli_evaluate
from patchvsr.cli import models as cli_models
from patchvsr.cli import preview as cli_preview
from patchvsr.cli import serve as cli_serve
from patchvsr.cli import study as cli_study
from patchvsr.cli import training as cli_training
from patchvsr.cli import upscale as cli_upscale
from patchvsr.cli.console import USER_ERROR, console
from patchvsr.errors import PatchVSRError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(cli_upscale.app)
app.add_typer(cli_preview.app)
app.add_typer(cli_serve.app)
app.add_typer(cli_evaluate.app)
app.add_typer(cli_study.app)
app.add_typer(cli_training.app)
app.add_typer(cli_models.app)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 not all done, 2 an error that the user can fix, 130 Ctrl-C. Any other exception is a bug.
    """
    _quiet_libraries()
    _let_waiting_threads_sleep()
    try:
        app(standalone_mode=True)
    except (PatchVSRError, FloatingPointError) as error:  # the second: a model produced NaN
        _fail(str(error))


def _show_version(wanted: bool) -> None:
    if wanted:
        from patchvsr import __version__

        Console(highlight=False).print(f"patchvsr {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Video super-resolution to any size, patch by patch."""


@app.command("info")
def info_command(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|MODEL]", help="Media file, image sequence, model name, or model folder."),
    ] = None,
) -> None:
    """Show the properties of a media file or a model; without one, what this machine computes with."""
    from patchvsr.models.registry import bundled_models, is_model

    if target is None:
        rows = _machine_rows()
    else:
        folder = bundled_models().get(target, Path(target))
        rows = _model_rows(folder) if is_model(folder) else _media_rows(target)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(name, str(value))
    Console(highlight=False).print(table)


def _machine_rows() -> list[tuple[str, Any]]:
    from patchvsr.compute import choose_device, facts

    return list(facts(choose_device(None)))


def _media_rows(path: str) -> list[tuple[str, Any]]:
    from patchvsr.media import ReadSettings, open_reader
    from patchvsr.media.facts import facts

    with open_reader(path, ReadSettings(deinterlace="off")) as reader:
        return list(facts(reader.info))


def _model_rows(folder: Path) -> list[tuple[str, Any]]:
    from patchvsr.models.registry import ADAPTER_CONFIG, PIPELINE_INDEX, is_adapter

    settings = json.loads((folder / (ADAPTER_CONFIG if is_adapter(folder) else PIPELINE_INDEX)).read_text())
    settings.update(settings.pop("pipeline", {}))
    rows = [
        (name, value) for name, value in settings.items() if not name.startswith("_") and not isinstance(value, list)
    ]
    # A pipeline has one folder per component; an adapter's tensors are in its main folder.
    # Version 0.1 called the autoencoder `codec`.
    for name, part in {"adapter": folder, **{name: folder / name for name in ("transformer", "vae", "codec")}}.items():
        size = sum(file.stat().st_size for file in part.glob("*.safetensors"))
        if size:
            class_name = json.loads((part / "config.json").read_text())["_class_name"]
            rows.append((name, f"{class_name}, {size / 2**20:.1f} MiB"))
    provenance = folder / "provenance.json"
    if provenance.is_file():
        rows += list(json.loads(provenance.read_text()).items())
    return rows


def _fail(message: str) -> None:
    # One line in the shape of usage errors, even if the message has line breaks.
    console.print(f"patchvsr: {' '.join(message.splitlines())}")
    sys.exit(USER_ERROR)


def _quiet_libraries() -> None:
    """Silence progress bars, warnings and advice of libraries, which are meant for developers."""
    import logging
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("patchvsr").setLevel(logging.INFO)


def _let_waiting_threads_sleep() -> None:
    """Make OpenMP's threads sleep while they wait for each other, instead of keeping a core busy for milliseconds.

    OpenMP reads this when torch is imported. It is set here and not in the package, whose users have programs of their
    own.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


if __name__ == "__main__":
    main()
