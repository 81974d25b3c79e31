"""The node `PatchVSR Upscale Video`: a file in, a larger file out, as a job that can be stopped and resumed."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
from comfy_api.latest import InputImpl, io, ui

from patchvsr.jobs.identity import input_identity
from patchvsr.jobs.watched import Watched
from patchvsr.presets import load_preset
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import local_engine, upscale

from .inputs import CATEGORY, other_model, restore_settings, restoring
from .progress import Progress
from .sources import check_whole, source_file, window

BY_FACTOR = "by factor"
SIZES = [BY_FACTOR, "720p", "1080p", "2k", "4k", "8k"]
CONTAINERS = ["mp4", "mkv", "mov", "webm"]


class UpscaleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PatchVSRUpscaleVideo",
            display_name="PatchVSR Upscale Video",
            category=CATEGORY,
            description="Upscale a video of any length to any size, with all its frames, times, sound and subtitles. "
            "Frames are read and written one by one. After a cancel or a crash, queue it again to go on.",
            inputs=[
                io.Video.Input("video"),
                io.Combo.Input("size", options=SIZES, tooltip="The video fits into it; its aspect ratio is kept."),
                io.Float.Input("factor", default=4.0, min=1.0, max=16.0, step=0.1, tooltip="For the size `by factor`."),
                *restoring(),
                io.Combo.Input("container", options=CONTAINERS, tooltip="mkv takes every kind of stream."),
                io.String.Input("filename_prefix", default="patchvsr/upscaled", tooltip="In the output folder."),
                other_model(),
                io.String.Input(
                    "preset", default="", optional=True,
                    tooltip="A file that `patchvsr upscale --save-preset` wrote, for codec, quality and all else.",
                ),
            ],
            outputs=[io.Video.Output(display_name="video")],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, video: io.Video.Type, size: str, factor: float, container: str, filename_prefix: str,
        preset: str | None = None, **restore: Any,
    ) -> io.NodeOutput:  # fmt: skip
        start = load_preset(Path(preset)) if preset else UpscaleSettings()
        sized = {"scale": factor} if size == BY_FACTOR else {"size": size}
        settings = start.overridden(**sized, **window(video), **restore_settings(**restore))
        folder, name, _, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        with source_file(video) as source:
            check_whole(video, source)
            # The name follows from contents and settings, so the same node finds its job again.
            made_of = f"{input_identity(source)} {settings.replaced(device=None)}"
            output = Path(folder) / f"{name}_{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.{container}"
            run(source, output, settings.replaced(overwrite=True))  # what has this name was made by this node
        shown = ui.PreviewVideo([ui.SavedResult(output.name, subfolder, io.FolderType.output)])
        return io.NodeOutput(InputImpl.VideoFromFile(str(output)), ui=shown)


def run(source: Path, output: Path, settings: UpscaleSettings) -> None:
    """Do the job. A cancel raises ComfyUI's exception and keeps what is finished."""
    comfy.model_management.unload_all_models()  # how much is restored at once depends on what is free
    progress = Progress()
    with closing(
        upscale(source, output, settings, get_engine=lambda: Watched(local_engine(settings.restore), progress.look))
    ) as happening:
        for event in happening:
            progress.show(event)
