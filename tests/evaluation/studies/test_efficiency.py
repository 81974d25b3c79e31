"""The cost of a step: counted, measured in a process of its own, and foretold where it would be too much."""

from __future__ import annotations

import re

import pytest
import torch
import toy
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from patchvsr.evaluation.measured import Measured
from patchvsr.evaluation.studies import efficiency as study
from patchvsr.evaluation.studies.efficiency import Limits, efficiency
from patchvsr.evaluation.studies.step_time import WHOLE, _conditions, step_boxes, step_flop, time_steps
from patchvsr.pixels.size import Size

SIZES = ["128x64", "256x128", "512x256"]
AREAS = [128 * 64, 256 * 128, 512 * 256]


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline()


@pytest.fixture
def measured(monkeypatch):
    """Measurements that are made up: seconds by tiling and size, in the order of the rows."""
    asked: list[list[str]] = []

    def measure(options, limits):
        asked.append(list(options))
        pixels = AREAS[SIZES.index(options[options.index("--size") + 1])]
        step = (pixels / 1e4) ** (2 if WHOLE in options else 1)
        return Measured(0, 3 * step, pixels / 1e5, f'loading\n{{"first_step_s": 2, "step_s": {step}}}\n', "")

    monkeypatch.setattr(study, "_measure", measure)
    return asked


def test_patches_grow_linearly_and_whole_frames_do_not(pipeline, measured):
    rows = list(efficiency(pipeline, ["--model", "toy"], sizes=SIZES, tilings=[WHOLE, "independent"]))
    whole, patched = rows[:3], rows[3:]
    assert measured[0] == ["--model", "toy", "--size", "128x64", "--frames", "17", "--tiling", WHOLE]
    assert [row["patches"] for row in rows] == [3 * count for count in (1, 1, 1, 2, 8, 32)]  # 17 frames are three
    per_megapixel = [row["tflop"] / row["megapixels"] for row in patched]
    assert per_megapixel == pytest.approx([per_megapixel[0]] * 3)
    assert whole[2]["tflop"] / whole[2]["megapixels"] > 2 * per_megapixel[0]
    assert [row["s_per_megapixel"] for row in patched] == pytest.approx([100] * 3)
    assert [row["times_less"] for row in patched] == pytest.approx([area / 1e4 for area in AREAS])


@pytest.mark.parametrize(
    ("limits", "said"),
    [(Limits(gib=1.0), "would need about 1.3 GiB of 1"), (Limits(seconds=100), r"would take about \d+ s of 100")],
)
def test_what_would_be_too_much_is_not_tried(pipeline, measured, limits: Limits, said: str):
    *done, last = efficiency(pipeline, [], sizes=SIZES, tilings=[WHOLE], limits=limits)
    assert all("step_s" in row for row in done)
    assert len(measured) == 2
    assert last.keys() == {"tiling", "size", "megapixels", "patches", "tflop", "skipped"}
    assert re.search(said, last["skipped"])


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Measured(None, 5.0, 0.0, "", ""), "took more than 60 s"),
        (Measured(1, 5.0, 8.0, "", "RuntimeError: can't allocate memory: you tried"), "needs more than 8 GiB"),
        (Measured(-9, 5.0, 8.0, "", ""), "needs more than 8 GiB"),
        (Measured(1, 5.0, 1.0, "", "ValueError: a bug"), "failed: ValueError: a bug"),
    ],
)
def test_a_measurement_that_fails_is_marked(pipeline, monkeypatch, ended: Measured, said: str):
    monkeypatch.setattr(study, "_measure", lambda options, limits: ended)
    (row,) = efficiency(pipeline, [], sizes=SIZES[:1], tilings=[WHOLE], limits=Limits(8, 60))
    assert row["skipped"] == said


def test_a_step_is_timed(pipeline):
    for tiling in (WHOLE, "auxiliary"):
        times = time_steps(pipeline, Size(160, 96), 5, tiling)
        assert times.keys() == {"first_step_s", "step_s"}
        assert min(times.values()) > 0


def test_flop_are_those_of_a_real_patch():
    """Attention by matrix products, which are counted while they run."""
    pipe, size = toy.pipeline(), Size(160, 96)
    boxes = step_boxes(pipe, size, 5, "auxiliary")
    features = pipe.transformer.encode_conditions(_conditions(pipe, size, 5).of_patches([boxes[0].box]))
    patch = toy.randn(1, pipe.vae.geometry.latent_channels, *boxes[0].box.shape)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        pipe.transformer(patch, torch.full((1,), 500.0), features=features)
    assert step_flop(pipe, size, 5, "auxiliary") == len(boxes) * counter.get_total_flops()


def test_a_real_measurement(pipeline):
    (row,) = efficiency(pipeline, ["--model", "mini"], sizes=["512x512"], frames=1, tilings=["independent"])
    assert "skipped" not in row
    assert row["step_s"] > 0
    assert 0.1 < row["peak_memory_gib"] < 4
