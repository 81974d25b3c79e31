"""Measure one clip: read output, original and low-quality input side by side, and show them to a panel of meters."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from patchvsr.errors import InputError, SettingsError
from patchvsr.evaluation.clips import Clip, check_clip, content_digest
from patchvsr.evaluation.made import traces_of
from patchvsr.measures.meter import FrameTriple, Need
from patchvsr.measures.panel import METERS, ClipFacts, Panel
from patchvsr.media import open_reader
from patchvsr.media.frames import FrameReader
from patchvsr.media.shots import mark_cuts
from patchvsr.media.tensors import to_tensor
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

Record = dict[str, Any]


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured, and of which frames.

    every: show only every n-th frame to meters that look at frames by themselves.
    max_frames: measure only the first frames of a clip.
    display: the display that JOD are computed for, a name of ColorVideoVDP's list.
    """

    metrics: tuple[str, ...] = tuple(METERS)
    every: int = 1
    max_frames: int | None = None
    display: str = "standard_4k"

    def __post_init__(self) -> None:
        if unknown := [name for name in self.metrics if name not in METERS]:
            raise SettingsError(f"unknown metric {unknown[0]!r}: choose from {', '.join(METERS)}")
        if self.every < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise SettingsError(f"every={self.every} and max_frames={self.max_frames} must be 1 or more")


def measure(clip: Clip, settings: MeasureSettings) -> Generator[int, None, Record]:
    """Measure a clip whose `output` exists. Yields the number of frames so far; returns its record.

    Raises InputError if a file cannot be read, output, original and input do not fit in size or number of frames, or a
    score is not a number.
    """
    assert clip.output is not None
    check_clip(clip)
    with ExitStack() as stack:
        output, original, lq = (
            None if path is None else stack.enter_context(open_reader(path))
            for path in (clip.output, clip.original, clip.lq)
        )
        assert output is not None
        size = Size(output.info.width, output.info.height)
        panel = Panel(settings.metrics, _facts(clip, output, size, settings), _has(clip), every=settings.every)
        count = 0
        for frame in _triples(clip, output, original, lq, settings.max_frames):
            panel.update(frame)
            yield (count := count + 1)
    found, frames = panel.result(), panel.per_frame()
    for name in (*found, *frames):
        values = [found.get(name), *frames.get(name, ())]
        if bad := [value for value in values if value is not None and not math.isfinite(value)]:
            raise InputError(f"{clip.name}: {name} is {bad[0]}: leave that metric out with --metrics")
    return {
        "clip": clip.name,
        "frames": count,
        "width": size.width,
        "height": size.height,
        "cropped_to": None if clip.crop is None else str(clip.crop),  # of the original, what the input shows
        "settings": asdict(settings) | {"metrics": list(settings.metrics)},
        "scores": found,
        "per_frame": frames,
        "missing": panel.missing,
        "measured_s": panel.seconds,
        "files": files_of(clip),
    }


def files_of(clip: Clip) -> dict[str, dict[str, str]]:
    """Return path and digest of every file of a clip."""
    paths = {"output": clip.output, "original": clip.original, "lq": clip.lq}
    return {
        name: {"path": str(path), "sha256": content_digest(path)} for name, path in paths.items() if path is not None
    }


def _has(clip: Clip) -> frozenset[Need]:
    parts: dict[Need, Path | None] = {"original": clip.original, "canvas": clip.lq}
    return frozenset(need for need, path in parts.items() if path is not None)


def _facts(clip: Clip, output: FrameReader, size: Size, settings: MeasureSettings) -> ClipFacts:
    assert clip.output is not None
    rate, traces = float(output.info.average_rate or 24), traces_of(clip.output, size)
    if traces is None:
        return ClipFacts(rate, settings.display)
    joins = tuple(join for join in traces.joins if settings.max_frames is None or join < settings.max_frames)
    return ClipFacts(rate, settings.display, (traces.patch_lines, traces.control_lines), joins)


def _triples(
    clip: Clip, output: FrameReader, original: FrameReader | None, lq: FrameReader | None, max_frames: int | None
) -> Iterator[FrameTriple]:
    """Yield the frames of a clip. Shots are those of the original, or of the output if there is none."""
    limits = max_frames, _least(max_frames, clip.frames), max_frames
    outputs, originals, inputs = (
        None if reader is None else islice((frame.rgb for frame in reader), limit)
        for reader, limit in zip((output, original, lq), limits, strict=True)
    )
    assert outputs is not None
    shown_with_target: Iterator[tuple[bool, np.ndarray, np.ndarray | None]]
    if originals is None:
        shown_with_target = ((is_first, rgb, None) for is_first, rgb in mark_cuts(outputs))
    else:
        pairs = _aligned(clip, mark_cuts(originals), outputs)
        shown_with_target = ((is_first, shown, _cut(rgb, clip)) for (is_first, rgb), shown in pairs)
    for index, ((is_first, shown, target), small) in enumerate(_aligned(clip, shown_with_target, inputs)):
        canvas = None if small is None else _canvas(small, shown)
        is_cut = is_first and index > 0
        yield FrameTriple(to_tensor(shown), None if target is None else to_tensor(target), canvas, is_cut)


def _aligned(clip: Clip, first: Iterator[Any], second: Iterator[Any] | None) -> Iterator[tuple[Any, Any]]:
    """Yield pairs; the second are None if there are none. Raises InputError if one of the two ends early."""
    if second is None:
        yield from ((item, None) for item in first)
        return
    for pair in zip_longest(first, second):
        if pair[0] is None or pair[1] is None:
            raise InputError(f"{_paths(clip)} hold different numbers of frames: give files that belong together")
        yield pair


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _paths(clip: Clip) -> str:
    return " and ".join(str(path) for path in (clip.output, clip.original, clip.lq) if path is not None)


def _cut(rgb: np.ndarray, clip: Clip) -> np.ndarray:
    """Return what the low-quality input shows of the original, from the top left corner."""
    return rgb if clip.crop is None else rgb[: clip.crop.height, : clip.crop.width]


def _size(rgb: np.ndarray) -> Size:
    return Size(rgb.shape[1], rgb.shape[0])


def _canvas(lq: np.ndarray, output: np.ndarray) -> Tensor:
    """Return the bicubic canvas (3, H, W), rounded to the depth of the output."""
    levels = float(np.iinfo(output.dtype).max)
    return resize_bicubic(to_tensor(lq)[None], _size(output))[0].mul_(levels).round_().div_(levels)
