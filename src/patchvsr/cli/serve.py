"""The command `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patchvsr.cli.console import console
from patchvsr.cli.options import ray_option
from patchvsr.extras import require

app = typer.Typer()


@app.command("serve")
def serve_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...", help="Folders of this machine that clients may read and write videos in."
        ),
    ] = None,
    *,
    watched: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch",
            metavar="FOLDER",
            help="Folder whose videos become jobs, also those that come later; results go to its subfolder `upscaled`. "
            "Repeatable.",
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder for the database, uploads and results; the same one goes on with its jobs.")
    ] = Path("patchvsr-service"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8790,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PATCHVSR_TOKEN",
            show_envvar=False,
            help="Secret that clients must know, needed for any other host; better set in PATCHVSR_TOKEN.",
        ),
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="Host name that clients use for this machine; repeatable.")
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option("--device", help="Device of a worker; repeatable.", show_default="one worker on the best one"),
    ] = None,
    ray: Annotated[
        str | None, ray_option("Also work on a Ray cluster", show_default="only on devices of this machine")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="fast|FILE.toml", help="Settings of every job, unless the job has its own.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Model to offer besides the bundled ones; repeatable.")
    ] = None,
    max_jobs: Annotated[int, typer.Option(min=1, help="Number of unfinished jobs that are accepted.")] = 100,
    max_upload_gib: Annotated[float, typer.Option(help="Largest upload, in GiB.")] = 100,
    min_free_gib: Annotated[float, typer.Option(help="Disk space that stays free, in GiB.")] = 2,
) -> None:
    """Serve a page and an HTTP interface for upscaling. Started again after any stop, it goes on with its jobs."""
    require("fastapi", extra="web")
    require("uvicorn", extra="web")
    from patchvsr.presets import load_preset
    from patchvsr.service.options import CLUSTER, GIB, ServiceOptions
    from patchvsr.service.serve import serve
    from patchvsr.settings import UpscaleSettings

    options = ServiceOptions(
        data=data.absolute(),
        folders=tuple(folders or ()),
        watched=tuple(folder.resolve() for folder in watched or ()),
        devices=(*(devices or ()), *((CLUSTER + ray,) if ray is not None else ())) or (None,),
        settings=UpscaleSettings() if preset is None else load_preset(preset),
        models=tuple(models or ()),
        host=host,
        port=port,
        token=token,
        names=tuple(name.lower() for name in names or ()),
        max_jobs=max_jobs,
        max_upload_bytes=round(max_upload_gib * GIB),
        min_free_bytes=round(min_free_gib * GIB),
    )
    serve(options, lambda address: console.print(f"PatchVSR is at {address} (Ctrl-C stops it; jobs are kept)"))
