"""The command `study`: the paper's tables, for any model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchvsr.cli.console import console
from patchvsr.errors import SettingsError

if TYPE_CHECKING:
    from patchvsr.evaluation.studies.clips import StudyClip

app = typer.Typer()


@app.command("study")
def study_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ablation, joint, patches, steps or efficiency.")],
    model: Annotated[str, typer.Option(help="Model: bundled name, model folder, or Hub name.")] = "mini",
    data: Annotated[
        Path | None, typer.Option(help="Folder of original videos.", show_default="clips that are made up")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Number of first frames to use of every clip.")] = 17,
    scale: Annotated[int, typer.Option("-s", "--scale", min=1, help="Upscaling factor.")] = 4,
    size: Annotated[
        list[str] | None,
        typer.Option(help="Centre of every clip to use, or sizes for efficiency (repeatable): WIDTHxHEIGHT or a name."),
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(help="Number of denoising steps; repeatable.", show_default="the study's")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Measure of quality; repeatable.", show_default="psnr, ssim, warping")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the table as JSON and Markdown.")] = None,
    limit_gib: Annotated[float | None, typer.Option(help="For efficiency: skip what needs more memory.")] = None,
    limit_s: Annotated[float | None, typer.Option(help="For efficiency: skip what takes more seconds.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Device: cpu, cuda, cuda:1 or mps.", show_default="the best one")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Floating-point type: float32, bfloat16 or float16.", show_default="the fastest")
    ] = None,
) -> None:
    """Measure what the parts, joint modes, patches or steps of a model are worth, or what a step costs."""
    from patchvsr.evaluation.machine import machine
    from patchvsr.evaluation.studies.efficiency import SIZES, Limits, efficiency
    from patchvsr.evaluation.studies.run import EFFICIENCY, NAMES, STUDIES, record, table
    from patchvsr.loading import load_pipeline
    from patchvsr.settings import RestoreSettings

    if name not in NAMES:
        raise SettingsError(f"unknown study {name!r}: choose one of {', '.join(NAMES)}")
    pipeline = load_pipeline(RestoreSettings(model=model, device=device, dtype=dtype))
    if pipeline.transformer is None:
        raise SettingsError(f"model {model} has no transformer to study: give one that takes denoising steps")
    if name == EFFICIENCY:
        limits = Limits(limit_gib, limit_s)
        loading = [f"--model={model}", f"--device={pipeline.device}", f"--dtype={str(pipeline.dtype).split('.')[-1]}"]
        rows = efficiency(pipeline, loading, sizes=size or SIZES, frames=frames, limits=limits)
    else:
        given = {"steps": steps, "metrics": metric}
        clips = _clips(data, frames, scale, size)
        rows = STUDIES[name].rows(pipeline, clips, **{option: values for option, values in given.items() if values})
    facts = {
        "model": model,
        "settings": {"data": data and str(data), "frames": frames, "scale": scale, "size": size},
        "machine": machine(str(pipeline.device)),
    }
    found = []
    for row in record(name, rows, facts, out):
        found.append(row)
        console.print(", ".join(f"{key} {value}" for key, value in row.items() if not isinstance(value, float)))
    typer.echo(table(name, found))


def _clips(data: Path | None, frames: int, scale: int, sizes: list[str] | None) -> Iterator[StudyClip]:
    from patchvsr.evaluation.studies.clips import made_clips, read_clips
    from patchvsr.pixels.size import Size

    if sizes and len(sizes) > 1:
        raise SettingsError("several sizes are for efficiency only: give one --size")
    size = Size.parse(sizes[0]) if sizes else None
    if data is None:
        return made_clips(frames=frames, scale=scale, size=size)
    return read_clips(data, frames=frames, scale=scale, size=size)
