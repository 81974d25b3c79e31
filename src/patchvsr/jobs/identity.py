"""Tell whether two runs are the same job, by input, settings, model and versions, and list their differences."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from patchvsr import __version__
from patchvsr.media.images.names import is_sequence, list_images
from patchvsr.media.settings import ReadSettings
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings, shaping

if TYPE_CHECKING:
    import torch

    from patchvsr.pipeline import PatchVSRPipeline

_BLOCK = 1 << 22

_LIBRARIES = ("torch", "diffusers", "av", "numpy", "scenedetect-headless")


def job_identity(
    input_path: Path,
    read: ReadSettings,
    restore: ResolvedSettings,
    size: Size,
    profile: dict[str, object],
    machine: dict[str, Any],
) -> dict[str, Any]:
    """Return everything that shapes the output, as plain values. Reads the whole input.

    machine: see `machine_identity`.
    """
    settings = shaping(read) | shaping(restore)
    settings |= {"output_size": str(size), "output": profile, "dtype": machine["dtype"]}
    identity = {
        "input": input_identity(input_path),
        "settings": settings,
        "model": machine["model"],
        "versions": machine["versions"],
    }
    return json.loads(json.dumps(identity))  # as read from a manifest, with lists instead of tuples


def machine_identity(pipeline: PatchVSRPipeline) -> dict[str, Any]:
    """Return the part of a job's identity that the model and the machine decide. Reads the whole model."""
    return {
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "model": model_identity(pipeline),
        "versions": version_identity(pipeline.device),
    }


def begun_with(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the `machine_identity` that a job was begun with, from its identity."""
    return {"dtype": identity["settings"]["dtype"], "model": identity["model"], "versions": identity["versions"]}


def input_identity(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file, or of all images of a sequence and their names. Reads all of it."""
    files = list_images(path) if is_sequence(path) else [path]
    digest = hashlib.sha256()
    for file in files:
        if len(files) > 1:
            digest.update(os.fsencode(file.name) + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return {"bytes": sum(file.stat().st_size for file in files), "sha256": digest.hexdigest()}


def model_identity(pipeline: PatchVSRPipeline) -> dict[str, Any]:
    """Return the SHA-256 of all parameters and configurations as loaded, wherever they came from.

    `patch_px` and `cell_px`, in output pixels, tell reports where patches end.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(pipeline.components):
        part = pipeline.components[name]
        if part is None:  # a feed-forward model has no transformer
            continue
        digest.update(json.dumps(_plain(dict(part.config)), sort_keys=True, default=str).encode())
        if not isinstance(part, torch.nn.Module):
            continue
        for key, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name}.{key} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    config = _plain({k: v for k, v in pipeline.config.items() if not isinstance(v, tuple | list)})
    digest.update(json.dumps(config, sort_keys=True).encode())
    return {
        "sha256": digest.hexdigest(),
        "patch_px": pipeline.config.patch_px,
        "cell_px": pipeline.vae.geometry.spatial_factor,
    }


def version_identity(device: torch.device) -> dict[str, Any]:
    """Return versions that can change a byte of the output, and the kind of device: devices round differently."""
    from patchvsr.compute import device_kind  # imports torch, which hashing an input does without

    found: dict[str, Any] = {"patchvsr": __version__, "device": device_kind(device)}
    found |= {library: version(library) for library in _LIBRARIES}
    ffmpeg = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    return found | {"zlib": zlib.ZLIB_RUNTIME_VERSION, **ffmpeg}


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return lines such as "settings.seed was 0, is 1", in the order of `now`."""
    lines = []
    for key in [*now, *(key for key in before if key not in now)]:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key} was {_short(old)}, is {_short(new)}")
    return lines


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text[:12] + "..." if len(text) == 64 else text


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}
