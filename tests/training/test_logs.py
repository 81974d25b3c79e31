"""What a run leaves behind: lines that are whole or ignored, and curves without doubles."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from patchvsr.training.logs import LOG, RunLog, picture_folder, read_log


@dataclass(frozen=True)
class Trained:
    step: int
    losses: dict[str, float]
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class Validated:
    step: int
    validation: dict[str, dict[str, float]]


def trained(step: int, loss: float) -> Trained:
    return Trained(step, {"pixel": loss, "spectral": loss / 2})


def validated(step: int, psnr: float) -> Validated:
    return Validated(step, {"bicubic LQ, steps 1": {"psnr_y": psnr}})


def curves(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard")).Reload()


def points(run: Path, tag: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value)) for point in curves(run).Scalars(tag)]


def test_a_line_and_curves_per_event(tmp_path: Path) -> None:
    events = [trained(20, 0.5), validated(20, 25.0), trained(40, 0.25)]
    with RunLog(tmp_path) as log:
        for event in events:
            log.event(event)
            assert json.loads((tmp_path / LOG).read_text().splitlines()[-1]) == asdict(event)  # before it is closed
    assert read_log(tmp_path) == [asdict(event) for event in events]
    assert curves(tmp_path).Tags()["scalars"] == [
        "losses/pixel", "losses/spectral", "learning_rate", "validation/bicubic LQ, steps 1/psnr_y",
    ]  # fmt: skip
    assert points(tmp_path, "losses/pixel") == [(20, 0.5), (40, 0.25)]
    assert points(tmp_path, "validation/bicubic LQ, steps 1/psnr_y") == [(20, 25.0)]


def test_pictures_go_along_with_the_validation_of_their_step(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path, 20)
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "clip_bicubic.png")
    with RunLog(tmp_path) as log:
        for event in (trained(20, 0.5), validated(20, 25.0), validated(40, 26.0)):
            log.event(event)
    (picture,) = curves(tmp_path).Images("clip_bicubic")
    assert (picture.step, picture.width, picture.height) == (20, 12, 8)
    (tmp_path / "shown.png").write_bytes(picture.encoded_image_string)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "shown.png")), pixels)


def test_a_resumed_run_replaces_what_was_logged_after_its_checkpoint(tmp_path: Path) -> None:
    """Stopped after step 60 with a checkpoint at 30; the second time in other intervals."""
    with RunLog(tmp_path) as log:
        for event in (trained(20, 1.0), validated(20, 25.0), trained(40, 2.0), validated(40, 26.0), trained(60, 3.0)):
            log.event(event)
    time.sleep(1.1)  # TensorBoard orders its files by the second, and within one by a count as text: 10 before 9
    with RunLog(tmp_path, step=30) as log:
        for event in (trained(35, 4.0), trained(70, 5.0)):
            log.event(event)
    expected = [trained(20, 1.0), validated(20, 25.0), trained(35, 4.0), trained(70, 5.0)]
    assert read_log(tmp_path) == [asdict(event) for event in expected]
    assert points(tmp_path, "losses/pixel") == [(20, 1.0), (35, 4.0), (70, 5.0)]
    assert points(tmp_path, "validation/bicubic LQ, steps 1/psnr_y") == [(20, 25.0)]


def test_the_same_step_again_replaces_its_own_kind_only(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for event in (trained(20, 1.0), validated(20, 25.0), validated(20, 26.0)):
            log.event(event)
    assert read_log(tmp_path) == [asdict(trained(20, 1.0)), asdict(validated(20, 26.0))]


@pytest.mark.parametrize("cut", [1, 10])
def test_a_line_cut_off_spoils_no_other(tmp_path: Path, cut: int) -> None:
    """Without its last character a line is still whole JSON; without more it is lost."""
    with RunLog(tmp_path) as log:
        log.event(trained(20, 1.0))
        log.event(trained(40, 2.0))
    file = tmp_path / LOG
    file.write_bytes(file.read_bytes()[:-cut])
    with RunLog(tmp_path, step=40) as log:
        log.event(trained(60, 3.0))
    kept = [trained(20, 1.0), trained(40, 2.0)][: 2 if cut == 1 else 1]
    assert read_log(tmp_path) == [asdict(event) for event in [*kept, trained(60, 3.0)]]


def test_an_event_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import sys, test_logs as t; from pathlib import Path; "
        "log = t.RunLog(Path(sys.argv[1])); log.event(t.trained(20, 1.0)); t.os.kill(t.os.getpid(), t.signal.SIGKILL)"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    assert read_log(tmp_path) == [asdict(trained(20, 1.0))]
    assert points(tmp_path, "losses/pixel") == [(20, 1.0)]


def test_without_tensorboard_the_lines_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO, "patchvsr"), RunLog(tmp_path) as log:
        log.event(trained(20, 1.0))
    assert read_log(tmp_path) == [asdict(trained(20, 1.0))]
    assert [file.name for file in tmp_path.iterdir()] == [LOG]
    assert "pip install 'patchvsr[train]'" in caplog.text
