"""The machine and the versions that figures come from."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from patchvsr import __version__
from patchvsr.compute import choose_device, facts

# Packages that affect pixels or scores.
PACKAGES = (
    "torch",
    "diffusers",
    "av",
    "pillow",
    "numpy",
    "torchmetrics",
    "vmaf-torch",
    "cvvdp",
    "opencv-python-headless",
)


def machine(device: str | None = None) -> dict[str, Any]:
    """Return processor, memory and what torch computes with, on a device or the best one."""
    memory_gib = round(psutil.virtual_memory().total / 2**30, 1)
    return {"processor": _processor(), "memory_gib": memory_gib, **dict(facts(choose_device(device)))}


def versions() -> dict[str, str]:
    """Return the versions of this package and of those that affect pixels or scores."""
    found = {"patchvsr": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Return the name of the processor; Linux has it in a file only."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        return next(iter(names), platform.machine())
    return platform.processor() or platform.machine()
