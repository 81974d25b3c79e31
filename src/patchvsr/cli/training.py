"""The commands of training: footage in, a model folder out. See docs/train.md."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from patchvsr.cli.console import INTERRUPTED, console, pairs
from patchvsr.errors import SettingsError

app = typer.Typer()
FEW_STEPS, MANY_STEPS = 1, 20

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a setting of the recipe. Repeatable.")
]


@app.command("pack")
def pack_command(
    data: Annotated[Path, typer.Argument(help="A folder of videos and photos, or a .jsonl list of them.")],
    packed: Annotated[Path, typer.Argument(help="Where to; a folder packed before is added to.")],
    max_side: Annotated[int | None, typer.Option(min=1, help="Shrink larger pictures: pixels, shorter side.")] = None,
) -> None:
    """Decode footage and photos once, for training; run again to continue."""
    from patchvsr.training.packing import pack

    report = pack(data, packed, max_side=max_side)
    console.print(
        f"packed into {packed}: {report.files} files, {report.shots} shots, {report.frames} frames; "
        f"{len(report.skipped)} files skipped, {report.too_short} shots too short"
    )
    for name in report.skipped:
        console.print(f"skipped: {name}")


@app.command("degrade")
def degrade_command(
    hq_folder: Annotated[Path, typer.Argument(metavar="HQ_FOLDER", help="Folder of original videos.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="New folder of low-quality files and lq_set.json.")],
    preset: Annotated[str, typer.Option(help="realbasicvsr or bicubic.")] = "realbasicvsr",
    scale: Annotated[int, typer.Option("-s", "--scale", min=1, help="Factor of the reduction.")] = 4,
    seed: Annotated[int, typer.Option(help="Same videos, settings and seed: same clips.")] = 0,
    strength: Annotated[float, typer.Option(help="0 only reduces, 1 has the preset's ranges.")] = 1.0,
    frames: Annotated[int | None, typer.Option(min=1, help="Only the first frames of every video.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare an existing OUT with its record.")] = False,
) -> None:
    """Make a fixed set of low-quality clips for evaluation, known by hash."""
    from patchvsr.allocator import keep_freed_memory
    from patchvsr.degradation.degrade import PRESETS
    from patchvsr.degradation.lq_set import check_lq_set, write_lq_set

    if check:
        checked = check_lq_set(output, hq_folder)
        console.print(f"{output}: {len(checked.clips)} clips are the ones of its record")
        return
    if preset not in PRESETS:
        raise SettingsError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    keep_freed_memory()
    settings = dataclasses.replace(PRESETS[preset], strength=strength)
    made = write_lq_set(hq_folder, output, scale, settings=settings, seed=seed, max_frames=frames)
    console.print(f"{output}: {len(made.clips)} clips, {sum(clip.lq.frames for clip in made.clips)} frames")


@app.command("train")
def train_command(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A name (see `patchvsr recipes`) or a recipe.json. Run again to go on."),
    ],
    overrides: Overrides = None,
    minutes: Annotated[float | None, typer.Option(help="Stop, with a checkpoint, after this time.")] = None,
) -> None:
    """Train one stage, or continue where it stopped."""
    from patchvsr.cli.training_display import show_training
    from patchvsr.training.checkpoint import last_checkpoint, read_state
    from patchvsr.training.recipes import resolve
    from patchvsr.training.run import run_recipe

    chosen = resolve(recipe, pairs(overrides, "--set"))
    try:
        show_training(run_recipe(chosen, minutes=minutes), chosen.steps, console)
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on from the last checkpoint")
        raise typer.Exit(INTERRUPTED) from None
    newest = last_checkpoint(chosen.run)
    done = read_state(newest)["step"]
    again = "" if done >= chosen.steps else "; run the same command again to go on"
    console.print(f"{newest}: {done} of {chosen.steps} steps{again}")


@app.command("cache")
def cache_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="An adapter or base recipe whose `cache` is set.")],
    count: Annotated[int, typer.Option(help="Samples to encode.")],
    overrides: Overrides = None,
) -> None:
    """Encode training samples once, for bases with a slow autoencoder; run again to go on."""
    from patchvsr.training.recipes import resolve
    from patchvsr.training.run import cache_recipe

    chosen = resolve(recipe, pairs(overrides, "--set"))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("encoding", total=count)
        for done in cache_recipe(chosen, count):
            bar.update(task, completed=done)
    console.print(f"{chosen.cache}: {count} samples")


@app.command("recipes")
def recipes_command(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="Show every setting of this one.")] = None,
) -> None:
    """List the training recipes, or one recipe's settings."""
    from patchvsr.training.recipes import RECIPES, resolve

    if recipe:
        typer.echo(json.dumps(dataclasses.asdict(resolve(recipe)), indent=1))
        return
    table = Table("recipe", "base", "patch, px", "frames", "batch", "steps", box=None, pad_edge=False)
    for name, make in RECIPES.items():
        r = make()
        batch = f"{r.batch_size} x {r.accumulate}" if r.accumulate > 1 else str(r.batch_size)
        table.add_row(name, r.base, r.sizes, str(r.num_frames), batch, str(r.steps))
    Console(highlight=False).print(table)


@app.command("export")
def export_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="New model folder.")],
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name, or recipe.json of the run, of the last stage.")
    ] = "mini_distill",
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps the model takes by default.", show_default="1, an adapter 20")
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="quality.json to record in provenance.json.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write trained weights as a model folder for --model."""
    from patchvsr.training.export import export
    from patchvsr.training.recipes import resolve

    chosen = resolve(recipe, pairs(overrides, "--set"))
    steps = steps if steps is not None else FEW_STEPS if chosen.stage == "distill" else MANY_STEPS
    export(chosen, output, num_inference_steps=steps, validation=validation)
    console.print(f"wrote {output}")
