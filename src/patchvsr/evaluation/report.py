"""Measure a finished upscale without an original: seams, flicker, and chroma against the bicubic canvas.

Input and output are read once, in parallel and in constant memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from patchvsr import files
from patchvsr.errors import InputError
from patchvsr.evaluation.made import all_patch_lines
from patchvsr.measures.flicker import change_levels, flicker_score
from patchvsr.measures.seams import Lines, SeamMeter
from patchvsr.media import ReadSettings, open_reader
from patchvsr.media.frames import FrameReader
from patchvsr.media.shots import mark_cuts
from patchvsr.media.tensors import to_tensor
from patchvsr.patches.grid import control_lines
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

# Cb = (B - Y) / 1.8556 and Cr = (R - Y) / 1.5748 of BT.709, as weights of R, G, B.
_CHROMA = torch.tensor([[-0.2126 / 1.8556, -0.7152 / 1.8556, 0.5], [0.5, -0.7152 / 1.5748, -0.0722 / 1.5748]])

T = TypeVar("T")
R = TypeVar("R")


class _Moment(NamedTuple):
    """Frames of both files at the same time: RGB (h, w, 3) and (H, W, 3), uint8 or uint16."""

    lq: np.ndarray
    output: np.ndarray


class _Sample(NamedTuple):
    """Measures at one time; `changes` from the previous frame are in 8-bit levels, None after a cut."""

    output_seams: SeamMeter
    bicubic_seams: SeamMeter
    chroma_levels: float
    changes: tuple[float, float] | None  # of the output, of the canvas


def measure_output(
    input_path: str | Path,
    output_path: str | Path,
    *,
    patch_px: int,
    cell_px: int,
    max_pairs: int = 48,
    joint_mode: str = "auxiliary",
    steps: int = 1,
    read: ReadSettings | None = None,
) -> dict[str, Any]:
    """Measure an output at evenly spaced frames, each with the previous frame unless a shot starts there.

    - `seams`: scores of the worst patch line and the worst control line (see `SeamMeter`), and the ratio of the mean
      scores: 1.0 is no seam, whatever the material. A control line is a border of latent cells where no patch ends.
      None if a small frame has no such lines. The same for the bicubic canvas.
    - `flicker`: see `flicker_score`; None without two consecutive frames of one shot.
    - `chroma_difference_levels`: mean absolute difference of Cb and Cr (BT.709) between output and canvas.

    Args:
        patch_px, cell_px, joint_mode, steps: settings of the restoration, which determine the patch lines.
        max_pairs: maximum number of frames to measure; in a long video at least a third as many are measured.
        read: how the input was read when this output was made.

    Raises:
        InputError: a file cannot be read, or the files do not hold the same number of frames.
    """
    with (
        open_reader(input_path, read) as source,
        open_reader(output_path) as output,
    ):
        samples, frames = _evenly(_moments(source, output), lambda pair: _measure(*pair), max_pairs)
        input_size, size = (Size(reader.info.width, reader.info.height) for reader in (source, output))
    lines = all_patch_lines(size, patch_px, cell_px, joint_mode, max(steps, 1))
    control = control_lines(size, cell_px, lines)
    return {
        "input_size": str(input_size),
        "output_size": str(size),
        "frames": frames,
        "frames_measured": len(samples),
        "seams": {
            "output": _seams([sample.output_seams for sample in samples], lines, control),
            "bicubic": _seams([sample.bicubic_seams for sample in samples], lines, control),
        },
        "flicker": _flicker([sample.changes for sample in samples if sample.changes is not None]),
        "chroma_difference_levels": _rounded(_mean([sample.chroma_levels for sample in samples])),
    }


def write_report(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write indented JSON to `path` atomically, replacing an earlier report; raise OutputError if that fails.

    Values without a JSON type (paths, fractions, dates) are written as text.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    files.write_text(Path(path), text)


def report_path(output: str | Path) -> Path:
    """Return the path of an output's report: `clip.mkv.report.json` next to `clip.mkv`, without the % of a pattern.

    Raises OutputError for the root of a disk.
    """
    return files.beside(Path(output), "{}.report.json")


def _moments(source: FrameReader, output: FrameReader) -> Iterator[tuple[_Moment | None, _Moment]]:
    """Yield (previous, current) frame pairs of both files; `previous` is None at the start of a shot."""
    before = None
    for marked, frame in zip_longest(mark_cuts(frame.rgb for frame in source), output):
        if marked is None or frame is None:
            more = "more" if marked is None else "fewer"
            raise InputError(
                f"{output.info.path}: holds {more} frames than {source.info.path}; give the input it was made of, "
                "and the range if it was made of a part"
            )
        is_first, lq = marked
        now = _Moment(lq, frame.rgb)
        yield None if is_first else before, now
        before = now


def _evenly(items: Iterable[T], measure: Callable[[T], R], limit: int) -> tuple[list[R], int]:
    """Measure at most `limit` evenly spaced items of a stream of unknown length; return measures and length."""
    kept: list[R] = []
    stride, count = 1, 0
    for count, item in enumerate(items, start=1):
        if (count - 1) % stride == 0:
            kept.append(measure(item))
        if len(kept) > limit:
            # Keep every third: chunks start at multiples of four, and powers of two would keep only those frames.
            kept, stride = kept[::3], 3 * stride
    return kept, count


@torch.no_grad()
def _measure(before: _Moment | None, now: _Moment) -> _Sample:
    output, canvas = to_tensor(now.output), _canvas(now)
    meters = SeamMeter(), SeamMeter()
    for meter, frame in zip(meters, (output, canvas), strict=True):
        meter.update(frame[None])
    chroma = torch.tensordot(_CHROMA, output - canvas, dims=1)  # (2, H, W)
    changes = None
    if before is not None:
        changes = change_levels(to_tensor(before.output), output), change_levels(_canvas(before), canvas)
    return _Sample(*meters, 255 * float(chroma.abs().mean()), changes)


def _canvas(moment: _Moment) -> Tensor:
    """Return the bicubic canvas (3, H, W), rounded to the depth of the output."""
    levels = float(np.iinfo(moment.output.dtype).max)
    canvas = resize_bicubic(to_tensor(moment.lq)[None], Size(*moment.output.shape[1::-1]))[0]
    return canvas.mul_(levels).round_().div_(levels)


def _seams(meters: Sequence[SeamMeter], lines: Lines, control: Lines) -> dict[str, Any]:
    total = SeamMeter()
    for meter in meters:
        total.add(meter)
    at_lines, at_control = total.scores(*lines), total.scores(*control)
    worst = max(at_lines, key=at_lines.__getitem__, default=None)
    both = at_lines and at_control
    return {
        "patch_lines": len(at_lines),
        "worst_patch_line": _rounded(max(at_lines.values(), default=None)),
        "worst_patch_line_at": worst,
        "worst_control_line": _rounded(max(at_control.values(), default=None)),
        "ratio_of_means": _rounded(_mean(at_lines.values()) / _mean(at_control.values())) if both else None,
    }


def _flicker(changes: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    if not changes:
        return None
    output, bicubic = zip(*changes, strict=True)
    return {
        "score": _rounded(flicker_score(output, bicubic)),
        "pairs": len(changes),
        "output_change_levels": _rounded(_mean(output)),
        "bicubic_change_levels": _rounded(_mean(bicubic)),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _rounded(value: float | None) -> float | None:
    """Round to four decimals; further digits are float32 noise that differs between machines."""
    return None if value is None else round(value, 4)
