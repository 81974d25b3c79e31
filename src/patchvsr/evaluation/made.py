"""How a finished job made its output, as far as its traces are measured: where patches end, and where chunks join."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.manifest import Manifest
from patchvsr.measures.seams import Lines
from patchvsr.patches.grid import control_lines, patch_lines
from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class Traces:
    """Rows and columns where a patch ends, others where none does, and first frames of chunks inside shots."""

    patch_lines: Lines
    control_lines: Lines
    joins: tuple[int, ...]


def traces_of(output: Path, size: Size) -> Traces | None:
    """Return the traces of the job that made an output of this size, or None if no record of it is left."""
    manifest = JobFolder(output).read_manifest()
    if manifest is None:
        return None
    model, settings = manifest.identity["model"], manifest.identity["settings"]
    steps = settings["num_inference_steps"]
    lines = all_patch_lines(size, model["patch_px"], model["cell_px"], settings["joint_mode"], max(1, steps))
    control = control_lines(size, model["cell_px"], lines)
    return Traces(lines, control, _joins(manifest) if steps else ())


def all_patch_lines(size: Size, patch_px: int, cell_px: int, mode: str, steps: int) -> Lines:
    """Return rows and columns where a patch of any step starts or ends; only mode `shifted` varies by step."""
    per_step = [patch_lines(size, patch_px, cell_px, mode, step=step) for step in range(steps)]
    rows, columns = (sorted(set().union(*lines)) for lines in zip(*per_step, strict=True))
    return rows, columns


def _joins(manifest: Manifest) -> tuple[int, ...]:
    chunks = [chunk for unit in manifest.units() for chunk in unit.chunks]
    return tuple(chunk.start + chunk.shared for chunk in chunks if chunk.shared)
