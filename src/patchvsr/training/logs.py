"""What a run reports: one JSON line per event in `log.jsonl`, and TensorBoard's curves and pictures beside it.

TensorBoard is optional (`pip install 'patchvsr[train]'`): without it the JSON lines alone are written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from patchvsr.media.lossless import read_frames

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


def picture_folder(run: Path, step: int) -> Path:
    """Where a run keeps the validation pictures of a step."""
    return run / "validation" / f"step-{step:06d}"


class RunLog:
    """Writes the events of the run in `folder`, which continues after `step`; a context manager.

    Events are dataclasses with a `step`. Every number in them becomes a curve named by its fields, such as
    `losses/pixel`; the pictures of `picture_folder(folder, step)` go along with an event that has a `validation`.
    Whatever an earlier, killed run has reported after `step` is replaced: in the lines when `read_log` reads
    them, in TensorBoard when it shows them.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines = (folder / LOG).open("a+b")
        if _ends_within_a_line(self._lines):
            self._lines.write(b"\n")
        self._curves = _summary_writer(folder / "tensorboard", purge_step=step + 1)

    def event(self, event: DataclassInstance) -> None:
        """Writes one event; it is on its way to the disk when this returns."""
        values = asdict(event)
        self._lines.write(json.dumps(values).encode() + b"\n")
        self._lines.flush()
        if self._curves is not None:
            self._show(self._curves, values)

    def _show(self, curves: SummaryWriter, values: dict[str, Any]) -> None:
        step = values.pop("step")
        for name, value in _numbers(values):
            curves.add_scalar(name, value, step)
        if "validation" in values:
            for file in sorted(picture_folder(self._folder, step).glob("*.png")):
                picture, _ = next(read_frames(file))
                curves.add_image(file.stem, picture, step)
        curves.flush()

    def close(self) -> None:
        self._lines.close()
        if self._curves is not None:
            self._curves.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The events of the run in `folder` in the order of their steps, as if it had never been killed.

    Training events have `losses`, validation events have `validation`. A line cut off by a kill is left out; a step
    that was taken again replaces what was reported of it, and of all steps after it, before.
    """
    events: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in (folder / LOG).read_bytes().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        # Steps only ever fall where a run continued from its checkpoint.
        while events and next(reversed(events))[0] > event["step"]:
            events.popitem()
        events[event["step"], "validation" in event] = event
    return list(events.values())


def _ends_within_a_line(file: BinaryIO) -> bool:
    """Whether a kill has cut the last line off; the file is left at its end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read() != b"\n"


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", value


def _summary_writer(folder: Path, *, purge_step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("no TensorBoard curves; to have them: pip install 'patchvsr[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)
