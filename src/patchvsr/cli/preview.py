"""The command for a look before the work."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from patchvsr.cli import options
from patchvsr.cli.training import console

app = typer.Typer()


@app.command("preview")
def preview_command(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video or an image sequence.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A .png; .mp4 or .mkv with --seconds.", show_default="./IN_preview.png"),
    ] = None,
    at: Annotated[float | None, typer.Option(help="Seconds from the first frame.", show_default="the middle")] = None,
    seconds: Annotated[float, typer.Option(help="Make a clip of this length instead of a picture.")] = 0,
    crop: Annotated[
        str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Pixels of the input.", show_default="whole frame")
    ] = None,
    scale: options.Scale = None,
    size: options.Size = None,
    allow_smaller: options.AllowSmaller = False,
    steps: options.Steps = None,
    joint: options.Joint = None,
    seed: options.Seed = 0,
    model: options.Model = "mini",
    restoration: options.Restoration = None,
    noise_timestep: options.Noise = None,
    branch_scale: options.BranchScale = 1.0,
    color_match: options.ColorMatch = True,
    chunk_frames: options.ChunkFrames = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    batch_size: options.BatchSize = 1,
    deinterlace: options.Deinterlace = None,
    rate: options.Rate = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Restore one moment, or a few seconds, and show it beside bicubic; tell how long the whole video will take."""
    from patchvsr.config import UpscaleConfig
    from patchvsr.jobs.preview import parse_crop, preview
    from patchvsr.upscale import load_pipeline

    config = UpscaleConfig(
        scale=scale, size=size, allow_smaller=allow_smaller, model=model, num_inference_steps=steps, joint_mode=joint,
        seed=seed, restoration=restoration, noise_timestep=noise_timestep, branch_scale=branch_scale,
        color_match=color_match, chunk_frames=chunk_frames, device=device, dtype=dtype, batch_size=batch_size,
        deinterlace=deinterlace, rate=rate, overwrite=overwrite,
    )  # fmt: skip
    area = None if crop is None else parse_crop(crop)
    made = preview(source, output, config, load_pipeline, at_s=at, seconds=seconds, crop=area)
    width, height = made.size
    what = f"{made.frames} frames from" if seconds else "the frame at"
    console.print(f"{made.output}: bicubic | restored, {width}x{height} pixels each, {what} {made.start_s:.2f} seconds")
    console.print(
        f"whole video: about {timedelta(seconds=round(made.job_s))} to restore {made.job_frames} frames, "
        f"{made.job_s / made.job_frames:.2f} seconds each"
    )
