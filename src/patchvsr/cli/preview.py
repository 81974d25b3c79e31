"""The command `preview`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from patchvsr.cli.console import console
from patchvsr.cli.options import takes_settings
from patchvsr.libraries import import_libraries
from patchvsr.settings import UpscaleSettings

app = typer.Typer()


# A preview sets these itself: its range comes from --at and --seconds, its encoding is fixed.
_NOT_OFFERED = ("start_s", "end_s", "codec", "crf", "pix_fmt", "encoder_options", "skip_streams")


@app.command("preview")
@takes_settings(without=_NOT_OFFERED)
def preview_command(
    source: Annotated[str, typer.Argument(metavar="IN", help="Video or image sequence.")],
    *,
    settings: UpscaleSettings,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Output file: .png, or .mp4 or .mkv with --seconds.", show_default="./IN_preview.png"
        ),
    ] = None,
    at: Annotated[
        float | None, typer.Option(help="Time to show, in seconds from the first frame.", show_default="the middle")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Make a clip of this many seconds instead of a picture.")] = 0,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT", help="Area to show, in pixels of the input.", show_default="whole frame"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")
    ] = False,
) -> None:
    """Restore one moment or a few seconds, show it beside bicubic, and estimate the time for the whole video."""
    import_libraries()
    from patchvsr.jobs.preview import parse_crop, preview
    from patchvsr.loading import load_pipeline

    area = None if crop is None else parse_crop(crop)
    made = preview(source, output, settings, load_pipeline, at_s=at, seconds=seconds, crop=area)
    if as_json:
        print(json.dumps(asdict(made)))  # noqa: T201
        return
    what = f"{made.frames} frames from" if seconds else "the frame at"
    console.print(f"{made.output}: bicubic | restored, {made.size} pixels each, {what} {made.start_s:.2f} seconds")
    console.print(
        f"whole video: about {timedelta(seconds=round(made.job_s))} to restore {made.job_frames} frames, "
        f"{made.job_s / made.job_frames:.2f} seconds each"
    )
