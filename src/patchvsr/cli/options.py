"""Options that several commands take, each with its help. Their defaults are those of `UpscaleConfig`."""

from __future__ import annotations

from typing import Annotated

import typer

Scale = Annotated[float | None, typer.Option("-s", "--scale", help="Factor; 4 if no size is given.")]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, or 720p, 1080p, 2k, 4k, 8k.")]
AllowSmaller = Annotated[bool, typer.Option("--allow-smaller", help="Allow an output smaller than the input.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps; 0 is a fast preview.", show_default="the model's")]
Joint = Annotated[
    str | None, typer.Option(help="auxiliary, overlap, shifted or independent.", show_default="the model's")
]
Seed = Annotated[int, typer.Option(help="Same input, settings and seed: same bytes.")]
Model = Annotated[str, typer.Option(help="Bundled name, model folder, or Hub name.")]
Restoration = Annotated[
    float | None,
    typer.Option(
        help="What the input needs: 0 sharpening only, 1 noise, blur and compression removed.",
        show_default="estimated for each shot",
    ),
]
Noise = Annotated[
    float | None, typer.Option("--noise", help="Noise augmentation, 0 to 1000.", show_default="the model's")
]
BranchScale = Annotated[float, typer.Option(help="Strength of the patch branch.")]
ColorMatch = Annotated[bool, typer.Option("--color-match/--no-color-match", help="Keep the input's colours.")]
ChunkFrames = Annotated[
    int | None, typer.Option(help="Frames restored together, 4k+1.", show_default="17, or what memory allows")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="the best one")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16.", show_default="bfloat16")]
BatchSize = Annotated[int, typer.Option(help="Patches per model call; the result is the same.")]
Deinterlace = Annotated[
    str | None,
    typer.Option(
        help="frame (same rate), field (double rate), or off (not really interlaced).",
        show_default="refuse interlaced",
    ),
]
Rate = Annotated[str | None, typer.Option(help="Frames a second of an image sequence.", show_default="24")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
