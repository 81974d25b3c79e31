"""What a training run shows: lines for logs, a bar for people, and tables of scores."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from patchvsr.cli.training_display import show_training
from patchvsr.training.trainer import TrainEvent, ValidationEvent

SCORES = {
    "bicubic LQ, bicubic enlargement": {"psnr_y": 25.333, "ssim_y": 0.77777},
    "bicubic LQ, steps 1": {"psnr_y": 26.5, "ssim_y": 0.8, "seam": 1.254},
}


def events() -> Iterator[TrainEvent | ValidationEvent]:
    for step in (20, 40):
        yield TrainEvent(step, {"pixel": 1 / step, "spectral": 0.02}, 1e-4, 0.5, 60.0, 0.1, 0.0)
    yield ValidationEvent(40, SCORES)


def shown(*, terminal: bool) -> str:
    text = io.StringIO()
    show_training(events(), 100, Console(file=text, force_terminal=terminal, width=120, highlight=False, markup=False))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())


def table(text: str) -> list[list[str]]:
    lines = text[text.index("step 40 ") :].splitlines()[:3]
    return [re.split(r" {2,}", line.strip()) for line in lines]


def test_plain_lines_where_no_one_watches() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == "step 20/100  pixel 0.05000  spectral 0.02000  60.00 s/step  1:20:00 left"
    assert lines[1] == "step 40/100  pixel 0.02500  spectral 0.02000  60.00 s/step  1:00:00 left"
    assert len(lines) == 5


def test_a_bar_with_the_time_left_on_a_terminal() -> None:
    text = shown(terminal=True)
    last = text.splitlines()[-1]
    assert re.search(r"training \S+ +40/100 pixel 0.02500  spectral 0.02000  60.00 s/step  1:00:00 left", last)
    assert "step 20/100" not in text


@pytest.mark.parametrize("terminal", [False, True])
def test_scores_are_a_table(terminal: bool) -> None:
    assert table(shown(terminal=terminal)) == [
        ["step 40", "psnr_y", "ssim_y", "seam"],
        ["bicubic LQ, bicubic enlargement", "25.33", "0.7778"],
        ["bicubic LQ, steps 1", "26.50", "0.8000", "1.25"],
    ]


def test_of_several_processes_one_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert shown(terminal=False) == ""
