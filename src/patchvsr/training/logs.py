"""Training log: one JSON line per event in `log.jsonl`, plus TensorBoard scalars and images.

TensorBoard is optional (`pip install 'patchvsr[train]'`). Without it, only the JSON lines are written.
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

from patchvsr.media.images.files import read_image
from patchvsr.media.tensors import to_tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


def picture_folder(run: Path, step: int) -> Path:
    """Return the folder of a step's validation images."""
    return run / "validation" / f"step-{step:06d}"


class RunLog:
    """Write the events of the run in `folder`, resuming after `step`; a context manager.

    Events are dataclasses with a `step` field. Every number in them becomes a scalar named by its field path, such as
    `losses/pixel`. An event with a `validation` field also logs the images in `picture_folder(folder, step)`. Events
    after `step` from an earlier, killed run are superseded: `read_log` drops them, and TensorBoard purges them.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines = (folder / LOG).open("a+b")
        if _ends_within_a_line(self._lines):
            self._lines.write(b"\n")
        self._curves = _summary_writer(folder / "tensorboard", purge_step=step + 1)

    def event(self, event: DataclassInstance) -> None:
        """Write and flush one event."""
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
                curves.add_image(file.stem, to_tensor(read_image(file).rgb), step)
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
    """Return the events of the run in `folder` in step order, as if it had never been killed.

    Training events have `losses`, validation events have `validation`. Truncated lines are skipped. A repeated step
    replaces the earlier events of that step and of all later steps.
    """
    events: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in (folder / LOG).read_bytes().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        # The step number only decreases where a run resumed from a checkpoint.
        while events and next(reversed(events))[0] > event["step"]:
            events.popitem()
        events[event["step"], "validation" in event] = event
    return list(events.values())


def _ends_within_a_line(file: BinaryIO) -> bool:
    """Tell whether the last line is truncated. Leaves the file position at the end."""
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
