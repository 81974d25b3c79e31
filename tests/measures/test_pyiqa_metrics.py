"""Test the metrics of pyiqa with a stand-in for it: what is missing is said, and weights with code are refused."""

import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

from patchvsr.errors import PatchVSRError
from patchvsr.measures.meter import FrameTriple
from patchvsr.measures.panel import METERS, ClipFacts, Panel
from patchvsr.measures.pyiqa_metrics import ClipIqaMeter, DistsMeter, LpipsMeter, MusiqMeter

OUTPUT, ORIGINAL = torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.25)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A hub folder with the weights of LPIPS and MUSIQ, and a pyiqa that takes mean differences or means."""

    def create_metric(name, device):
        print("Loading pretrained model")  # noqa: T201
        return {
            "lpips": lambda output, original: (output - original).abs().mean(),
            "musiq": lambda output: 100 * output.mean(),
        }[name]

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for file in (*LpipsMeter.weights, *MusiqMeter.weights):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        torch.save({"weight": torch.zeros(2)}, tmp_path / file)
    return tmp_path


def test_scores_with_and_without_the_original(weights, capsys):
    panel = Panel(("lpips", "musiq"), ClipFacts(25.0), frozenset({"original"}))
    panel.update(FrameTriple(OUTPUT, ORIGINAL))
    assert panel.result() == pytest.approx({"lpips": 0.25, "musiq": 50.0})
    assert capsys.readouterr().out == ""
    alone = Panel(("lpips", "musiq"), ClipFacts(25.0), frozenset())
    alone.update(FrameTriple(OUTPUT))
    assert alone.result() == pytest.approx({"musiq": 50.0})


def test_missing_weights_name_the_command_that_gets_them(weights):
    with pytest.raises(PatchVSRError, match=r"vgg16.*run: python -c .*pyiqa.create_metric\('dists'\)"):
        DistsMeter()


def test_weights_outside_of_the_hub_folder(weights, monkeypatch):
    monkeypatch.setenv("HOME", str(weights))
    with pytest.raises(PatchVSRError, match=f"RN50.pt are not in {weights}/.cache/clip;"):
        ClipIqaMeter()


def test_weights_with_code_are_refused(weights):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    (weights / MusiqMeter.weights[0]).write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(PatchVSRError, match="does not hold weights alone"):
        MusiqMeter()


def test_every_report_says_how_to_get_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    names = [name for name in METERS if METERS[name].__module__.endswith("pyiqa_metrics")]
    panel = Panel(names, ClipFacts(25.0), frozenset())
    assert set(panel.missing) == {"lpips", "dists", "musiq", "clipiqa"}
    assert set(panel.missing.values()) == {"pyiqa is not installed; run: pip install pyiqa"}
