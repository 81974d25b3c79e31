"""ComfyUI nodes of PatchVSR. They need the package `patchvsr` in ComfyUI's Python; see docs/comfyui.md."""

from comfy_api.latest import ComfyExtension, io

from .upscale_images import UpscaleImages
from .upscale_video import UpscaleVideo


class PatchVSRExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [UpscaleVideo, UpscaleImages]


async def comfy_entrypoint() -> PatchVSRExtension:
    return PatchVSRExtension()
