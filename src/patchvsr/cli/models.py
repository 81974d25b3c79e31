"""The commands of models at hand and on the Hub."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from patchvsr.cli.console import console

if TYPE_CHECKING:
    from patchvsr.hub.inventory import Entry

app = typer.Typer()
_SHORT = 12  # digits of a revision


@app.command("models")
def models_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list on standard output.")] = False,
) -> None:
    """List models and bases: bundled, known and downloaded, and whether they can be used without network."""
    from patchvsr.hub.inventory import take_inventory

    inventory = take_inventory()
    for notice in inventory.notices:
        console.print(notice)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(e) | {"offline": e.offline} for e in inventory.entries], default=str))
        return
    table = Table("name", "kind", "size", "revision", "without network", box=None, pad_edge=False)
    for entry in inventory.entries:
        table.add_row(entry.name, entry.kind, _size(entry), (entry.revision or "")[:_SHORT], entry.missing or "yes")
    Console(highlight=False).print(table)


@app.command("push")
def push_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Model folder that `export` wrote.")],
    repository: Annotated[str, typer.Argument(metavar="HUB_ID", help="Name on the Hub: OWNER/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see and load it.")] = False,
) -> None:
    """Publish a model folder on the Hub, private by default. What is there already is not sent again."""
    from patchvsr.hub.push import push

    pushed = push(folder, repository, public=public)
    if pushed.left_out:
        console.print(f"not sent, as they are no part of a model: {', '.join(pushed.left_out)}")
    seen_by = "private" if pushed.private else "public"
    done = "published as" if pushed.sent else "nothing to send, the same model is already"
    console.print(f"{folder}: {done} {pushed.url} ({seen_by}), revision {pushed.revision[:_SHORT]}")


def _size(entry: Entry) -> str:
    return "" if entry.size_bytes is None else f"{entry.size_bytes / 2**20:,.1f} MiB"
