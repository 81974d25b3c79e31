"""Import ColorVideoVDP without what it declares but its metric does not use, such as torchvision and ffmpeg.

torchvision is built for one version of torch each, and brings CUDA packages to machines without a GPU. So cvvdp is
installed with `pip install --no-deps`, and a few modules are stood in for while it is imported:

- `pycvvdp` itself, whose __init__ imports readers of files and neural metrics;
- `torchvision.transforms`, of which the metric needs the Gaussian blur, which is below;
- `pycvvdp.dump_channels` and `pycvvdp.third_party.loadmat`, for debugging and MATLAB files, which are never called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec, module_from_spec
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from patchvsr.extras import require

# Its parts are called one by one, so the version is fixed.
INSTALL = "pip install --no-deps cvvdp==0.5.7"


class GaussianBlur:
    """Blur images (N, 1, H, W) as `torchvision.transforms.GaussianBlur` with one sigma: reflected borders."""

    def __init__(self, kernel_size: int, sigma: float) -> None:
        places = torch.arange(kernel_size) - kernel_size // 2
        weights = torch.exp(-0.5 * (places / sigma) ** 2)
        self._kernel = weights / weights.sum()

    def forward(self, images: Tensor) -> Tensor:
        kernel, margin = self._kernel.to(images), len(self._kernel) // 2
        images = F.pad(images, (margin,) * 4, mode="reflect")
        return F.conv2d(F.conv2d(images, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


@cache
def load_cvvdp() -> ModuleType:
    """Return the module `pycvvdp.cvvdp_metric`.

    Raises:
        PatchVSRError: cvvdp is not installed.
    """
    with _stood_in(_stand_ins()):
        return require("pycvvdp.cvvdp_metric", command=INSTALL)


def _stand_ins() -> dict[str, ModuleType]:
    package = find_spec("pycvvdp")
    if package is None:
        return {}
    return {
        "pycvvdp": module_from_spec(package),  # it finds its modules, but its __init__ does not run
        "torchvision.transforms": _module("torchvision.transforms", GaussianBlur=GaussianBlur),
        "pycvvdp.dump_channels": _module("pycvvdp.dump_channels", DumpChannels=None),
        "pycvvdp.third_party.loadmat": _module("pycvvdp.third_party.loadmat", loadmat=None),
    }


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


@contextmanager
def _stood_in(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Put modules in the place of others for a while. cvvdp also appends its folder to sys.path, which is undone."""
    before, path = {name: sys.modules[name] for name in modules if name in sys.modules}, sys.path.copy()
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(before)
        sys.path[:] = path
