"""The training commands, from footage to a model folder. See docs/train.md."""

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
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a setting of the recipe; repeatable.")
]


@app.command("pack")
def pack_command(
    data: Annotated[Path, typer.Argument(help="Folder of videos and photos, or a .jsonl list of them.")],
    packed: Annotated[Path, typer.Argument(help="Output folder; an existing packed folder is extended.")],
    max_side: Annotated[
        int | None, typer.Option(min=1, help="Shrink larger pictures to this many pixels on the shorter side.")
    ] = None,
) -> None:
    """Decode footage and photos once for training. If stopped, run the same command again to resume."""
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
    hq_folder: Annotated[Path, typer.Argument(metavar="HQ_FOLDER", help="Folder of original clips, or a test set.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for low-quality files and lq_set.json.")],
    degradation: Annotated[
        str, typer.Option(metavar="NAME", help="Kind of damage: bicubic, light, medium, or realbasicvsr.")
    ] = "realbasicvsr",
    scale: Annotated[int, typer.Option("-s", "--scale", min=1, help="Downscaling factor.")] = 4,
    seed: Annotated[int, typer.Option(help="Random seed; the same videos, settings and seed give the same clips.")] = 0,
    strength: Annotated[
        float, typer.Option(help="Factor on the strength of the degradation: 0 only downscales.")
    ] = 1.0,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Use only this many frames from the start of each video.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare an existing OUT with its record.")] = False,
) -> None:
    """Make a fixed set of low-quality clips for evaluation, identified by hash."""
    from patchvsr.allocator import keep_freed_memory
    from patchvsr.degradation.degrade import PRESETS
    from patchvsr.degradation.lq_set import check_lq_set, write_lq_set

    if check:
        checked = check_lq_set(output, hq_folder)
        console.print(f"{output}: {len(checked.clips)} clips match its record")
        return
    if degradation not in PRESETS:
        raise SettingsError(f"unknown degradation {degradation!r}: choose one of {', '.join(PRESETS)}")
    keep_freed_memory()
    chosen = PRESETS[degradation]
    settings = dataclasses.replace(chosen, strength=chosen.strength * strength)
    made = write_lq_set(hq_folder, output, scale, settings=settings, seed=seed, max_frames=frames)
    console.print(f"{output}: {len(made.clips)} clips, {sum(clip.lq.frames for clip in made.clips)} frames")


@app.command("train")
def train_command(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe name (see `patchvsr recipes`) or a recipe.json."),
    ],
    overrides: Overrides = None,
    minutes: Annotated[float | None, typer.Option(help="Write a checkpoint and stop after this many minutes.")] = None,
) -> None:
    """Train one stage. If stopped, run the same command again to resume from the last checkpoint."""
    from patchvsr.cli.training_display import show_training
    from patchvsr.training.checkpoint import last_checkpoint, read_state
    from patchvsr.training.recipes import resolve
    from patchvsr.training.run import run_recipe

    chosen = resolve(recipe, pairs(overrides, "--set"))
    try:
        show_training(run_recipe(chosen, minutes=minutes), chosen.steps, console)
    except KeyboardInterrupt:
        console.print("interrupted: run the same command again to resume from the last checkpoint")
        raise typer.Exit(INTERRUPTED) from None
    newest = last_checkpoint(chosen.run)
    done = read_state(newest)["step"]
    again = "" if done >= chosen.steps else "; run the same command again to resume"
    console.print(f"{newest}: {done} of {chosen.steps} steps{again}")


@app.command("cache")
def cache_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Adapter or base recipe whose `cache` is set.")],
    count: Annotated[int, typer.Option(help="Number of samples to encode.")],
    overrides: Overrides = None,
) -> None:
    """Encode training samples once, for slow autoencoders. If stopped, run the same command again to resume."""
    from patchvsr.training.recipes import resolve
    from patchvsr.training.run import cache_recipe

    chosen = resolve(recipe, pairs(overrides, "--set"))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("encoding", total=count)
        for done in cache_recipe(chosen, count):
            bar.update(task, completed=done)
    console.print(f"{chosen.cache}: {count} samples")


@app.command("cache-prompt")
def cache_prompt_command(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base: name, folder or Hub name.")],
) -> None:
    """Encode the fixed prompt of a base once with its text encoder, for use without an adapter (`upscale --base`)."""
    from patchvsr.models.wan_base.prompt import fixed_prompt, prompt_file

    fixed_prompt(base, prompt_file(base))
    console.print(str(prompt_file(base)))


@app.command("recipes")
def recipes_command(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="Recipe whose settings are shown.")] = None,
) -> None:
    """List the training recipes, or the settings of one recipe."""
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
        str, typer.Argument(metavar="RECIPE", help="Recipe of the last stage: a name, or the recipe.json of its run.")
    ] = "mini_distill",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Default number of denoising steps of the model.",
            show_default="1; adapter: 20, restorer: 0",
        ),
    ] = None,
    detail: Annotated[float, typer.Option(help="Default share of the generated detail that is added.")] = 1.0,
    validation: Annotated[Path | None, typer.Option(help="A report.json of `evaluate` to record.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write trained weights as a model folder for --model."""
    from patchvsr.training.export import export
    from patchvsr.training.recipes import resolve

    chosen = resolve(recipe, pairs(overrides, "--set"))
    if steps is None:
        steps = {"restorer": 0, "distill": FEW_STEPS}.get(chosen.stage, MANY_STEPS)
    export(chosen, output, num_inference_steps=steps, detail=detail, validation=validation)
    console.print(f"wrote {output}")
