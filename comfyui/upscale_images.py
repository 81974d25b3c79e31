"""The node `PatchVSR Upscale Images`: a short batch of images in memory."""

from __future__ import annotations

from typing import Any

import torch
from comfy.utils import ProgressBar
from comfy_api.latest import io

from patchvsr.errors import InputError
from patchvsr.settings import RestoreSettings

from .inputs import CATEGORY, other_model, restore_settings, restoring
from .progress import stop_if_cancelled

MAX_IMAGES = 64


class UpscaleImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PatchVSRUpscaleImages",
            display_name="PatchVSR Upscale Images",
            category=CATEGORY,
            description=f"Upscale up to {MAX_IMAGES} images, all held in memory. For more, use PatchVSR Upscale Video.",
            inputs=[
                io.Image.Input("images"),
                io.Float.Input("factor", default=4.0, min=1.0, max=16.0, step=0.1),
                *restoring(),
                io.Boolean.Input(
                    "one_shot", default=True,
                    tooltip="Whether the images are successive frames of a shot. If not, each is restored by itself.",
                ),
                other_model(),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )  # fmt: skip

    @classmethod
    def execute(cls, images: io.Image.Type, factor: float, one_shot: bool, **restore: Any) -> io.NodeOutput:
        from patchvsr.loading import load_pipeline  # slow to import, and ComfyUI imports all nodes as it starts

        check(images)
        settings = RestoreSettings(**restore_settings(**restore))
        pipeline = load_pipeline(settings)
        clips = [images] if one_shot else images.split(1)
        bar, restored = ProgressBar(len(clips)), []
        for clip in clips:
            stop_if_cancelled()
            output = pipeline(
                clip.movedim(-1, 1), scale=factor, seed=settings.seed, restoration=settings.restoration,
                num_inference_steps=settings.num_inference_steps,
                callback_on_step_end=lambda *_: stop_if_cancelled(),
            )  # fmt: skip
            restored.append(output.frames.movedim(1, -1).cpu())  # (F, H, W, 3)
            bar.update(1)
        return io.NodeOutput(torch.cat(restored).contiguous())


def check(images: io.Image.Type) -> None:
    """Raise InputError for a batch (B, H, W, C) that this node does not take."""
    count, _, _, channels = images.shape
    if count > MAX_IMAGES:
        raise InputError(
            f"got {count} images, at most {MAX_IMAGES} are taken, because all are held in memory: "
            "use PatchVSR Upscale Video, which reads and writes frame by frame"
        )
    if channels != 3:
        raise InputError(f"got images of {channels} channels: give RGB; Split Image with Alpha takes alpha off")
