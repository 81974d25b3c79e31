"""Record the kernels of a piece of work, and time them alone: the least time that the work around them could take."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

KERNELS = ("convolution", "mm", "scaled_dot_product")
REPEATS = 5


class Kernels(TorchDispatchMode):
    """Record the convolutions, matrix products and attentions that run inside, forward and backward.

    gflop: billions of operations they do, a multiplication and an addition counted as two.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        fused = {torch.ops.mkldnn._convolution_pointwise: _pointwise}
        self._counter = FlopCounterMode(display=False, custom_mapping=fused)

    def __enter__(self) -> Kernels:
        self._counter.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._counter.__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(kernel in func.name() for kernel in KERNELS):
            self._calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    @property
    def gflop(self) -> float:
        return self._counter.get_total_flops() / 1e9

    def seconds(self) -> float:
        """Run every recorded call again, several times in a row, and return the sum of their shortest times."""
        total = 0.0
        for func, args, kwargs in self._calls:
            times = []
            for _ in range(REPEATS):
                started_at = time.perf_counter()
                func(*args, **kwargs)
                times.append(time.perf_counter() - started_at)
            total += min(times)
        return total


def _pointwise(x: Any, second: Any, third: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    """Operations of oneDNN's fused convolutions: (x, weight, bias, ...) or (x, other, weight, ...)."""
    weight = third if third is not None and len(third) == len(x) else second
    return 2 * math.prod(out_shape) * math.prod(weight[1:])
