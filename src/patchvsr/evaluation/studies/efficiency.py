"""What patches save: time and memory of a denoising step at growing sizes, against attention over whole frames."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from patchvsr.evaluation.measured import Measured, run_measured
from patchvsr.evaluation.studies.restored import Row
from patchvsr.evaluation.studies.step_time import WHOLE, step_boxes, step_flop
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size

SIZES = ("720p", "1080p", "1440p", "4k", "8k")
TILINGS = (WHOLE, "auxiliary", "overlap", "independent")
_MEMORY_WORDS = ("memory", "bad_alloc", "MemoryError")
_KILLED = -9  # what Linux does to a process when memory runs out


@dataclass(frozen=True)
class Limits:
    """What one measurement may take: GiB of memory and seconds in all; None is no limit."""

    gib: float | None = None
    seconds: float | None = None


@dataclass
class _Grown:
    """What a quantity came to at the sizes measured so far: (work, quantity), ascending."""

    points: list[tuple[float, float]] = field(default_factory=list)

    def expected(self, work: float) -> float | None:
        """Extend the line through the last two points, or through the origin and the only one."""
        if not self.points:
            return None
        (x0, y0), (x1, y1) = ([(0.0, 0.0), *self.points])[-2:]
        return y1 + (work - x1) * (y1 - y0) / (x1 - x0) if x1 > x0 else y1


def efficiency(
    pipeline: PatchVSRPipeline,
    model: Sequence[str],
    *,
    sizes: Sequence[str] = SIZES,
    frames: int = 17,
    tilings: Sequence[str] = TILINGS,
    limits: Limits = Limits(),
) -> Iterator[Row]:
    """Yield one row per tiling and size (ascending): seconds of a step, peak memory, and FLOP of the transformer.

    Every measurement is a process of its own, so that one that runs out of memory costs a row only. Expected time and
    memory, from the smaller sizes, are compared with the limits first. `times_less` is the time of whole frames over
    that of the tiling, where both were measured.

    model: options that make `step_time` load the same model, such as ["--model", "mini"].
    """
    whole: dict[str, float] = {}
    for tiling in tilings:
        seconds, memory = _Grown(), _Grown()
        for name in sizes:
            size = Size.parse(name)
            flop = step_flop(pipeline, size, frames, tiling)
            row: Row = {"tiling": tiling, "size": name, "megapixels": size.width * size.height / 1e6}
            row |= {"patches": len(step_boxes(pipeline, size, frames, tiling)), "tflop": flop / 1e12}
            if reason := _too_much(seconds.expected(flop), memory.expected(size.width * size.height), limits):
                yield row | {"skipped": reason}
                continue
            command = ["--size", str(size), "--frames", str(frames), "--tiling", tiling]
            measured = _measure([*model, *command], limits)
            if reason := _failure(measured, limits):
                yield row | {"skipped": reason}
                continue
            times = json.loads(measured.output.splitlines()[-1])
            seconds.points.append((flop, measured.seconds))
            memory.points.append((size.width * size.height, measured.peak_memory_gib))
            if tiling == WHOLE:
                whole[name] = times["step_s"]
            yield row | {
                **times,
                "s_per_megapixel": times["step_s"] / row["megapixels"],
                "tflop_per_s": row["tflop"] / times["step_s"],
                "peak_memory_gib": measured.peak_memory_gib,
                **({"times_less": whole[name] / times["step_s"]} if name in whole else {}),
            }


def _measure(options: Sequence[str], limits: Limits) -> Measured:
    program = [sys.executable, "-m", "patchvsr.evaluation.studies.step_time"]
    limit = ["--limit-gib", str(limits.gib)] if limits.gib else []
    return run_measured([*program, *options, *limit], timeout_s=limits.seconds)


def _too_much(seconds: float | None, gib: float | None, limits: Limits) -> str | None:
    if limits.seconds and seconds and seconds > limits.seconds:
        return f"would take about {seconds:.0f} s of {limits.seconds:.0f}"
    if limits.gib and gib and gib > limits.gib:
        return f"would need about {gib:.1f} GiB of {limits.gib:g}"
    return None


def _failure(measured: Measured, limits: Limits) -> str | None:
    if measured.code is None:
        return f"took more than {limits.seconds:.0f} s"
    if measured.code == 0:
        return None
    said = measured.last_words(1)
    if measured.code == _KILLED or any(word in said for word in _MEMORY_WORDS):
        return "out of memory" if limits.gib is None else f"needs more than {limits.gib:g} GiB"
    return f"failed: {said}"
