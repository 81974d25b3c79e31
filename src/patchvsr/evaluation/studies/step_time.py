"""Time denoising steps at one size, in a process of its own: no decoder, and noise in place of a clip.

python -m patchvsr.evaluation.studies.step_time --size 3840x2160 --tiling auxiliary

Prints one JSON object: seconds of the first step, in which the branches run as well, and of the second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from patchvsr.errors import PatchVSRError
from patchvsr.evaluation.studies.tiled import extend_positions, with_whole_frames
from patchvsr.loading import load_pipeline
from patchvsr.models.geometry import clip_length
from patchvsr.models.transformer import PatchConditions
from patchvsr.patches.grid import Box, WeightedBox
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.sampling.conditions import ClipConditions
from patchvsr.sampling.joint import denoise
from patchvsr.sampling.schedule import set_steps
from patchvsr.sampling.velocity import PatchVelocity
from patchvsr.settings import RestoreSettings

WHOLE = "whole frame"


def step_boxes(pipeline: PatchVSRPipeline, size: Size, frames: int, tiling: str) -> tuple[WeightedBox, ...]:
    """Return the boxes of one step for a clip. tiling: a joint mode, or "whole frame"."""
    if tiling == WHOLE:
        pipeline = with_whole_frames(pipeline)
    return pipeline.boxes(_shape(pipeline, size, frames), tiling, 0)


def time_steps(pipeline: PatchVSRPipeline, size: Size, frames: int, tiling: str) -> dict[str, float]:
    """Return `first_step_s` and `step_s`, and `device_memory_gib` on a GPU."""
    boxes = step_boxes(pipeline, size, frames, tiling)
    device = pipeline.device
    velocity = PatchVelocity(pipeline.transformer, _conditions(pipeline, size, frames), device=device)
    latents = torch.randn(pipeline.vae.geometry.latent_channels, *_shape(pipeline, size, frames))
    moments = [time.perf_counter()]

    def on_step(step: int, steps: int, latents: Tensor) -> None:
        moments.append(time.perf_counter())

    denoise(velocity, latents, lambda step: boxes, set_steps(pipeline.scheduler, 2), on_step=on_step)
    times = {"first_step_s": moments[1] - moments[0], "step_s": moments[2] - moments[1]}
    if device.type == "cuda":
        times["device_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return times


@torch.no_grad()
def step_flop(pipeline: PatchVSRPipeline, size: Size, frames: int, tiling: str) -> int:
    """Return the floating-point operations of one step without its branches, counted without computing them."""
    boxes = [each.box for each in step_boxes(pipeline, size, frames, tiling)]
    with torch.device("meta"):
        model = type(pipeline.transformer).from_config(pipeline.transformer.config)
        extend_positions(model, boxes[0].shape)
        features = model.encode_conditions(_of_one_patch(_conditions(pipeline, size, frames), boxes[0]))
        patch = torch.empty(1, pipeline.vae.geometry.latent_channels, *boxes[0].shape)
        with FlopCounterMode(display=False) as counter:
            model(patch, torch.empty(1), features=features)
    return int(counter.get_total_flops()) * len(boxes)  # all boxes have one shape


def _of_one_patch(conditions: ClipConditions, box: Box) -> PatchConditions:
    with torch.device("cpu"):
        found = conditions.of_patches([box])
    return PatchConditions(**{each.name: getattr(found, each.name).to("meta") for each in fields(found)})


def _conditions(pipeline: PatchVSRPipeline, size: Size, frames: int) -> ClipConditions:
    """Return conditions that hold no picture; their values change no time."""
    length, height, width = _shape(pipeline, size, frames)
    channels = pipeline.vae.geometry.condition_channels
    side = pipeline.config.patch_px // pipeline.vae.geometry.spatial_factor
    return ClipConditions(
        canvas_latents=torch.zeros(()).expand(channels, length, height, width),
        global_latents=torch.zeros(()).expand(channels, length, side, side),
        noise=torch.zeros(()).expand(channels, length, height, width),
        noise_timestep=0.0,
        scale=4.0,
    )


def _shape(pipeline: PatchVSRPipeline, size: Size, frames: int) -> tuple[int, int, int]:
    canvas = pipeline.padded_size(size)
    return pipeline.vae.geometry.latent_shape(clip_length(frames), canvas.height, canvas.width)


def _limit_memory(gib: float) -> None:
    """Let allocations fail beyond a limit, before the system runs out of memory and ends some other process."""
    import resource

    size = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--size", type=Size.parse, required=True)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--tiling", required=True, help="a joint mode, or 'whole frame'")
    parser.add_argument("--limit-gib", type=float)
    args = parser.parse_args()
    try:
        pipeline = load_pipeline(RestoreSettings(model=args.model, device=args.device, dtype=args.dtype))
        if args.limit_gib:
            _limit_memory(args.limit_gib)
        sys.stdout.write(json.dumps(time_steps(pipeline, args.size, args.frames, args.tiling)) + "\n")
    except PatchVSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
