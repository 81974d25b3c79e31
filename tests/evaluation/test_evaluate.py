"""The whole evaluation on tiny clips: given outputs and methods on a set, resumed, and refused."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import toy
from command import run_here
from torch import Tensor

from patchvsr.degradation.degrade import BICUBIC
from patchvsr.degradation.lq_set import write_lq_set
from patchvsr.errors import InputError, SettingsError
from patchvsr.evaluation.clips import find_clips, find_set
from patchvsr.evaluation.evaluate import Case, Measuring, Reported, Running, evaluate
from patchvsr.evaluation.measure import MeasureSettings
from patchvsr.evaluation.methods import parse_method
from patchvsr.measures.fidelity import PsnrMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.media.lossless import LosslessWriter

METRICS = ("psnr", "ssim", "flicker", "colour")


def write(path: Path, clip: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with LosslessWriter(path) as writer:
        for index, frame in enumerate(clip):
            writer.write(frame, Fraction(index, 24))
    return path


def shot(seed: int = 0) -> Tensor:
    """Four frames that are much alike, (4, 3, 32, 48)."""
    return 0.9 * toy.video(1, 32, 48, seed=seed) + 0.05 * toy.video(4, 32, 48, seed=seed + 9)


def on_8_bits(clip: Tensor) -> Tensor:
    return (clip.clamp(0, 1) * 255).round() / 255


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for seed, name in enumerate(("one", "two")):
        clip = shot(seed)
        write(tmp_path / "gt" / f"{name}.mkv", clip)
        write(tmp_path / "ours" / f"{name}.mkv", clip + 0.02 * toy.randn(4, 3, 32, 48, seed=seed))
        write(tmp_path / "lq" / f"{name}.mkv", clip[..., ::4, ::4])
    return {name: tmp_path / name for name in ("gt", "ours", "lq")}


def cases(folders: dict[str, Path]) -> list[Case]:
    return [Case("ours", clip) for clip in find_clips(folders["ours"], folders["gt"], folders["lq"])]


def report_in(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_given_outputs(folders, tmp_path):
    events = list(evaluate(cases(folders), tmp_path / "out", MeasureSettings(METRICS)))
    assert [event.done for event in events if isinstance(event, Reported)] == [1, 2, 2]
    assert sum(isinstance(event, Measuring) for event in events) == 8
    report = report_in(tmp_path / "out")
    assert [record["clip"] for record in report["clips"]] == ["one", "two"]
    clips = [on_8_bits(shot(seed)) for seed in range(2)]
    noise = [toy.randn(4, 3, 32, 48, seed=seed) for seed in range(2)]
    expected = measure_clip([PsnrMeter()], on_8_bits(shot() + 0.02 * noise[0]), clips[0])
    assert report["clips"][0]["scores"]["psnr_y"] == pytest.approx(expected["psnr_y"], rel=1e-5)
    assert len(report["clips"][0]["per_frame"]["psnr_y"]) == 4 and report["clips"][0]["per_frame"]["flicker"][0] is None
    assert report["means"]["ours"]["psnr_y"]["clips"] == 2
    assert {"report.html", "report.md", "report.json", "clips"} == {path.name for path in (tmp_path / "out").iterdir()}


def test_goes_on_where_it_stopped(folders, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    list(evaluate(cases(folders), whole, MeasureSettings(METRICS)))
    for event in evaluate(cases(folders), stopped, MeasureSettings(METRICS)):
        if isinstance(event, Measuring) and event.done == 1:
            break
    assert [path.name for path in (stopped / "clips" / "ours").iterdir()] == ["one.json"]
    events = list(evaluate(cases(folders), stopped, MeasureSettings(METRICS)))
    assert {event.case.clip.name for event in events if isinstance(event, Measuring)} == {"two"}
    assert report_in(stopped)["means"] == report_in(whole)["means"]
    again = list(evaluate(cases(folders), stopped, MeasureSettings(("psnr",))))  # other settings count as others
    assert sum(isinstance(event, Measuring) for event in again) == 8


def test_another_output_is_measured_again(folders, tmp_path):
    list(evaluate(cases(folders), tmp_path / "out", MeasureSettings(METRICS)))
    (folders["ours"] / "one.mkv").unlink()
    write(folders["ours"] / "one.mkv", shot())
    events = list(evaluate(cases(folders), tmp_path / "out", MeasureSettings(METRICS)))
    assert {event.case.clip.name for event in events if isinstance(event, Measuring)} == {"one"}
    assert report_in(tmp_path / "out")["clips"][0]["scores"]["psnr_y"] == 100


def test_methods_on_a_set(folders, tmp_path):
    write_lq_set(folders["gt"], tmp_path / "set", 4, settings=BICUBIC)
    copier = f'{sys.executable} -c "import shutil, sys; shutil.copy(*sys.argv[1:])" {{input}} {{output}}'
    methods = [parse_method("bicubic"), parse_method("lanczos")]
    clip = find_set(tmp_path / "set", folders["gt"])[0]  # one, as every run is a process of its own
    made = [Case(method.name, clip, method) for method in methods]
    events = list(evaluate(made, tmp_path / "out", MeasureSettings(METRICS)))
    assert sum(isinstance(event, Running) for event in events) == 2
    report = report_in(tmp_path / "out")
    assert list(report["means"]) == ["bicubic", "lanczos"]
    assert report["means"]["bicubic"]["colour_shift"]["mean"] == pytest.approx(0, abs=0.05)
    assert report["means"]["lanczos"]["seconds_per_frame"]["mean"] > 0
    assert report["differences"]["against"] == "bicubic" and "psnr_y" in report["differences"]["methods"]["lanczos"]
    wrong = parse_method(f"copy={copier}")
    with pytest.raises(InputError, match="12x8 cannot be compared"):
        list(evaluate([Case("copy", made[0].clip, wrong)], tmp_path / "copied", MeasureSettings(METRICS)))


def test_unlike_files_are_refused(folders, tmp_path):
    for name, clip in {"short": toy.video(3, 32, 48), "small": toy.video(4, 32, 40)}.items():
        write(tmp_path / name / "one.mkv", clip)
        write(tmp_path / name / "two.mkv", clip)
        with pytest.raises(InputError, match="one"):
            list(
                evaluate(
                    [Case(name, clip) for clip in find_clips(tmp_path / name, folders["gt"])],
                    tmp_path / "out",
                    MeasureSettings(METRICS),
                )
            )
    assert not (tmp_path / "out" / "report.json").exists()
    with pytest.raises(SettingsError, match="unknown metric 'beauty'"):
        MeasureSettings(("beauty",))


def test_command(folders, tmp_path, capfd):
    options = ["--pred", folders["ours"], "--gt", folders["gt"], "--lq", folders["lq"], "-o", tmp_path / "out"]
    command = [*map(str, options), "--metrics", "psnr,sharpness", "--vsreval", "--every", "2"]
    shown = run_here(capfd, "evaluate", *command).stdout
    assert "PSNR-Y dB" in shown and "ours" in shown
    assert (tmp_path / "out" / "vsreval" / "ours" / "results.json").is_file()
    assert len(report_in(tmp_path / "out")["clips"][0]["per_frame"]["psnr_y"]) == 2
    lines = [json.loads(line) for line in run_here(capfd, "evaluate", *command, "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["reported"] * 3 and lines[-1]["done"] == 2


def test_no_original_no_likeness(folders, tmp_path):
    clips = [Case("ours", clip) for clip in find_clips(folders["ours"], None, folders["lq"])]
    list(evaluate(clips, tmp_path / "out", MeasureSettings(METRICS)))
    assert set(report_in(tmp_path / "out")["clips"][0]["scores"]) == {"flicker", "change", "colour_shift"}
    assert torch.isfinite(torch.tensor(report_in(tmp_path / "out")["means"]["ours"]["flicker"]["mean"]))


def test_a_score_that_is_no_number_names_clip_and_metric(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(PsnrMeter, "measure", lambda meter, frame: {"psnr_y": float("nan")})
    with pytest.raises(InputError, match="one: psnr_y is nan: leave that metric out with --metrics"):
        list(evaluate(cases(folders), tmp_path / "report", MeasureSettings(metrics=("psnr",))))
    assert not list((tmp_path / "report").rglob("*.json"))
