"""The command line. Thin: it turns words into settings, events into a progress bar, and errors into one line."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from patchvsr import cli_training
from patchvsr.cli_training import INTERRUPTED, console, pairs
from patchvsr.errors import OutputError, PatchVSRError, SettingsError

if TYPE_CHECKING:
    from patchvsr.config import UpscaleConfig
    from patchvsr.pipeline import PatchVSRPipeline

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(cli_training.app)

USER_ERROR = 2


def main() -> None:
    """Entry point: exit code 0, 2 for what the user can mend, 130 for Ctrl-C; anything else is a bug."""
    _quiet_libraries()
    try:
        app(standalone_mode=True)
    except (PatchVSRError, FloatingPointError) as error:  # the second: what a model made is not a number
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


@app.command("upscale")
def upscale_command(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, or folders of PNG images.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A file; a folder for several inputs; a pattern such as out/%06d.png."),
    ],
    scale: Annotated[float | None, typer.Option("-s", "--scale", help="Factor; 4 if no size is given.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, or 720p, 1080p, 2k, 4k, 8k.")] = None,
    allow_smaller: Annotated[
        bool, typer.Option("--allow-smaller", help="Allow an output smaller than the input.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps; 0 is a fast preview.", show_default="the model's")
    ] = None,
    joint: Annotated[
        str | None,
        typer.Option(help="auxiliary, overlap, shifted or independent.", show_default="the model's"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same input, settings and seed: same bytes.")] = 0,
    model: Annotated[str, typer.Option(help="Bundled name, model folder, or Hub name.")] = "mini",
    noise_timestep: Annotated[
        float | None,
        typer.Option("--noise", help="Noise augmentation, 0 to 1000.", show_default="the model's"),
    ] = None,
    branch_scale: Annotated[float, typer.Option(help="Strength of the patch branch.")] = 1.0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="the best one")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16.", show_default="bfloat16")] = None,
    batch_size: Annotated[int, typer.Option(help="Patches per model call; the result is the same.")] = 1,
    start: Annotated[float | None, typer.Option(help="Seconds from the first frame.")] = None,
    end: Annotated[float | None, typer.Option(help="Seconds from the first frame, exclusive.")] = None,
    codec: Annotated[str, typer.Option(help="h264, hevc, av1, ffv1, or an encoder of FFmpeg.")] = "h264",
    crf: Annotated[float | None, typer.Option(help="Quality, smaller is better.", show_default="by codec")] = None,
    pix_fmt: Annotated[str | None, typer.Option(help="Pixel format.", show_default="by codec and source")] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option("-e", "--encoder-option", metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    skip_stream: Annotated[
        list[int] | None, typer.Option(metavar="INDEX", help="Stream to leave out, see `info`. Repeatable.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per event on standard output.")] = False,
) -> None:
    """Upscale videos: every frame, timestamp and stream is kept."""
    from patchvsr.config import UpscaleConfig

    config = UpscaleConfig(
        scale=scale, size=size, allow_smaller=allow_smaller, model=model, num_inference_steps=steps, joint_mode=joint,
        seed=seed, noise_timestep=noise_timestep, branch_scale=branch_scale, device=device, dtype=dtype,
        batch_size=batch_size, start_s=start, end_s=end, codec=codec, crf=crf, pix_fmt=pix_fmt,
        encoder_options=pairs(encoder_option, "-e"), skip_streams=tuple(skip_stream or ()), overwrite=overwrite,
    )  # fmt: skip
    jobs = plan_outputs(inputs, output)
    _check_before_loading(jobs, config)
    from patchvsr.upscale import load_pipeline

    pipeline = load_pipeline(config)
    try:
        for source, target in jobs:
            _run_one(source, target, config, pipeline, as_json)
    except KeyboardInterrupt:
        console.print("interrupted: no unfinished output was left")
        raise typer.Exit(INTERRUPTED) from None


def plan_outputs(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Where each input goes: `output` itself for one input, a file in that folder for several.

    Raises SettingsError for two inputs of the same name, or several inputs into one file.
    """
    into_folder = len(inputs) > 1 or (output.is_dir() and not inputs[0].is_dir())
    if not into_folder:
        return [(inputs[0], output)]
    if output.suffix and not output.is_dir():
        raise SettingsError(f"{len(inputs)} inputs cannot go into the one file {output}: give a folder")
    # A folder of images becomes a folder; any video becomes Matroska, which holds every kind of stream.
    targets = [output / (source.name if source.is_dir() else f"{source.stem}.mkv") for source in inputs]
    doubles = {target.name for target in targets if targets.count(target) > 1}
    if doubles:
        raise SettingsError(f"two inputs would both become {doubles.pop()}: upscale them into different folders")
    return list(zip(inputs, targets, strict=True))


def _check_before_loading(jobs: list[tuple[Path, Path]], config: UpscaleConfig) -> None:
    """What is wrong should be said before a model is loaded."""
    from patchvsr.media import open_reader
    from patchvsr.media.encoders import choose_encoder

    for source, target in jobs:
        with open_reader(source, start_s=config.start_s, end_s=config.end_s) as reader:
            size = config.output_size(reader.info.width, reader.info.height)
            choose_encoder(config.encode_settings(), reader.info, *size)
        if target.is_file() and not config.overwrite:
            raise OutputError(f"{target} exists: choose another name or add --overwrite")


def _run_one(source: Path, target: Path, config: UpscaleConfig, pipeline: PatchVSRPipeline, as_json: bool) -> None:
    from patchvsr.upscale import upscale

    events = upscale(source, target, config, pipeline=pipeline)
    if as_json:
        for event in events:
            print(json.dumps({"event": type(event).__name__.lower(), **dataclasses.asdict(event)}), flush=True)  # noqa: T201
    else:
        _show(events)


def _show(events: Iterable[Any]) -> None:
    from patchvsr.upscale import Finished, Started

    columns = (
        TextColumn("{task.description}"), BarColumn(), FramesColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, finished = None, None
        for event in events:
            if isinstance(event, Started):
                width, height = event.output_size
                source = "x".join(map(str, event.input_size))
                console.print(f"{event.input} ({source}) -> {event.output} ({width}x{height})")
                for notice in event.notices:
                    console.print(notice)
                task = bar.add_task("restoring", total=event.num_frames)
            elif isinstance(event, Finished):
                finished = event
            elif task is not None:
                bar.update(task, completed=event.frames)
    if finished is not None:  # after the bar is gone, or it would leave an empty line
        rate = finished.frames / finished.seconds
        console.print(f"{finished.output}: {finished.frames} frames in, {finished.frames} out, {rate:.2f} frames/s")


class FramesColumn(ProgressColumn):
    """Frames done, of how many, and how fast."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{task.total:.0f}"
        speed = f"{task.finished_speed or task.speed or 0:.2f} fps"
        return Text(f"{task.completed:.0f}/{total} frames {speed}")


@app.command("info")
def info_command(target: Annotated[str, typer.Argument(metavar="FILE|MODEL")]) -> None:
    """Show what is known about a media file or a model."""
    from patchvsr.models.registry import BUNDLED, is_model

    folder = BUNDLED.get(target, Path(target))
    rows = _model_rows(folder) if is_model(folder) else _media_rows(target)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(name, str(value))
    Console(highlight=False).print(table)


def _media_rows(path: str) -> list[tuple[str, Any]]:
    from patchvsr.media import open_reader

    with open_reader(path) as reader:
        info = reader.info
    rows = [
        (field.name.replace("_", " "), getattr(info, field.name))
        for field in dataclasses.fields(info)
        if field.name not in ("streams", "color")
    ]
    return rows + [(f"stream {stream.index}", stream) for stream in info.streams]


def _model_rows(folder: Path) -> list[tuple[str, Any]]:
    from patchvsr.models.registry import ADAPTER_CONFIG, PIPELINE_INDEX, is_adapter

    settings = json.loads((folder / (ADAPTER_CONFIG if is_adapter(folder) else PIPELINE_INDEX)).read_text())
    settings.update(settings.pop("pipeline", {}))
    rows = [
        (name, value) for name, value in settings.items() if not name.startswith("_") and not isinstance(value, list)
    ]
    # A pipeline's parts lie in folders of their own; an adapter's tensors do not.
    for name, part in {"adapter": folder, "transformer": folder / "transformer", "codec": folder / "codec"}.items():
        size = sum(file.stat().st_size for file in part.glob("*.safetensors"))
        if size:
            class_name = json.loads((part / "config.json").read_text())["_class_name"]
            rows.append((name, f"{class_name}, {size / 2**20:.1f} MiB"))
    provenance = folder / "provenance.json"
    if provenance.is_file():
        rows += list(json.loads(provenance.read_text()).items())
    return rows


def _fail(message: str) -> None:
    # The same line shape as usage errors, whatever the message was wrapped for.
    console.print(f"patchvsr: {' '.join(message.split())}")
    sys.exit(USER_ERROR)


def _quiet_libraries() -> None:
    """Their progress bars and advice are for developers; ours is the only voice here."""
    import logging
    import os
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("patchvsr").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
