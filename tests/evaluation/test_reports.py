"""Means with intervals, and the same report as tables, a page and vsreval's layout."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from patchvsr.evaluation.crops import CROP_PX, worst_frames, worst_place
from patchvsr.evaluation.html import html
from patchvsr.evaluation.markdown import best_method, differences_table, markdown, means_table
from patchvsr.evaluation.plots import GROUPS, curves, dots
from patchvsr.evaluation.rendering import report_json
from patchvsr.evaluation.summary import FEWEST_FOR_VERDICT, differences, interval, means, verdict
from patchvsr.evaluation.vsreval import write_vsreval

SCORES = [
    {"name": "psnr_y", "label": "PSNR-Y", "unit": "dB", "better": "higher", "digits": 2, "help": "a <help> & text"},
    {"name": "sharpness", "label": "Sharpness", "unit": "", "better": "one", "digits": 3, "help": ""},
    {"name": "seconds_per_frame", "label": "Time", "unit": "s/frame", "better": "lower", "digits": 2, "help": ""},
]


def record(method: str, clip: str, psnr: float, sharpness: float) -> dict:
    return {
        "clip": clip, "method": method, "frames": 3, "width": 320, "height": 240, "settings": {"every": 2},
        "scores": {"psnr_y": psnr, "sharpness": sharpness}, "per_frame": {"psnr_y": [psnr + 1, psnr - 1, psnr]},
        "run": {"frames": 3, "seconds": 6.0, "peak_memory_gib": 0.5, "command": ["x"]}, "missing": {},
        "files": {role: {"path": f"{clip}.{role}", "sha256": "ab" * 32} for role in ("output", "original", "lq")},
    }  # fmt: skip


@pytest.fixture
def report() -> dict:
    clips = [
        record(method, f"clip <{number}>", 30 + 5 * number + better, 0.5 + better)
        for number in range(4)
        for method, better in (("bicubic", 0.0), ("ours", 0.4 + 0.01 * number))
    ]
    return {
        "created": "2026-11-27", "machine": {"processor": "a|b"}, "versions": {"patchvsr": "0.2"},
        "settings": {"every": 2, "metrics": ["psnr"]}, "scores": SCORES, "missing": {"lpips": "pip install it"},
        "clips": clips, "means": means(clips),
        "differences": {"against": "bicubic", "methods": differences(clips, "bicubic")},
    }  # fmt: skip


def test_interval_of_normal_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(10, 2, size=400)
    found = interval(values)
    standard_error = values.std() / 20
    assert found["mean"] == pytest.approx(values.mean()) and found["clips"] == 400
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * standard_error, rel=0.05)
    assert interval(values) == found


def test_one_clip_has_no_spread():
    assert interval([3.0]) == {"mean": 3.0, "low": 3.0, "high": 3.0, "clips": 1}


def test_clips_without_a_score_are_left_out():
    records = [record("a", "one", 30, 1), record("a", "two", 40, 1)]
    del records[1]["scores"]["sharpness"]
    assert means(records)["a"]["sharpness"]["clips"] == 1
    assert means(records)["a"]["psnr_y"]["mean"] == 35
    assert means(records)["a"]["seconds_per_frame"]["mean"] == 2


def test_differences_are_tighter_than_means(report):
    difference, mean = report["differences"]["methods"]["ours"]["psnr_y"], report["means"]["ours"]["psnr_y"]
    assert difference["mean"] == pytest.approx(0.415)
    assert 0.4 - 1e-9 <= difference["low"] <= difference["high"] <= 0.43 + 1e-9
    assert mean["high"] - mean["low"] > 5


def test_intervals_of_nine_clips_hold_the_mean_as_often_as_said():
    """Plain percentiles hold it in 90 % of these cases; the standard error of this share is 1 %."""
    clips = np.random.default_rng(2).normal(size=(500, 9))
    held = [found["low"] <= 0 <= found["high"] for found in map(interval, clips)]
    assert 0.92 < np.mean(held) < 0.97


def compared(score: str, values: list[float], base: list[float]) -> dict:
    records = [
        {"clip": str(number), "method": method, "scores": {score: value}}
        for method, column in (("base", base), ("new", values))
        for number, value in enumerate(column)
    ]
    return differences(records, "base")["new"][score]


def test_scores_that_should_be_one_are_compared_by_their_distance_from_it():
    assert compared("sharpness", [0.9, 1.1], [1.1, 0.9])["mean"] == pytest.approx(0)
    assert compared("sharpness", [1.2], [0.7])["mean"] == pytest.approx(-0.1)
    assert compared("colour_shift", [0.5], [-1.0])["mean"] == pytest.approx(-0.5)
    assert compared("psnr_y", [0.5], [-1.0])["mean"] == pytest.approx(1.5)


@pytest.mark.parametrize(("better", "said"), [("higher", "better"), ("lower", "worse"), ("one", "worse"), (None, None)])
def test_verdict(better, said):
    more = [0.1 + 0.01 * number for number in range(FEWEST_FOR_VERDICT)]
    found = compared("psnr_y", more, [0.0] * len(more))
    assert verdict(found, {"better": better}) == said
    fewer = compared("psnr_y", more[1:], [0.0] * (len(more) - 1))
    mixed = compared("psnr_y", [-1.0, *more], [0.0] * (len(more) + 1))
    assert verdict(fewer, {"better": better}) is verdict(mixed, {"better": better}) is None


@pytest.mark.parametrize(
    ("name", "best"), [("psnr_y", "ours"), ("sharpness", "ours"), ("seconds_per_frame", "bicubic")]
)
def test_best_method(report, name, best):
    score = next(score for score in SCORES if score["name"] == name)
    assert best_method(report["means"], score) == best
    assert best_method(report["means"], {**score, "better": None}) is None


def test_markdown_tables_are_whole(report):
    text = markdown(report)
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace(r"\|", "").count("|") in (4 + 1, 5 + 1), line
    assert "**37.9" in means_table(report) and "PSNR-Y dB ↑" in text and "lpips: pip install it" in text
    assert text.count("### clip") == 4


def test_clips_that_lack_a_score_are_counted(report):
    del report["clips"][-1]["scores"]["sharpness"], report["clips"][-3]["scores"]["sharpness"]
    report["means"] = means(report["clips"])
    table = means_table(report)
    assert re.search(r"ours .*\*\*0\.9\d\d\*\* \[.*\] \(2 clips\)", table) and table.count("clips)") == 1
    assert "2 clips" in html(report, [])


def test_differences_say_who_is_better(report):
    report["clips"] = [record(m, str(n), 30 + n + b, 1.5 - b) for n in range(7) for m, b in (("a", 0), ("b", 0.5))]
    report["differences"] = {"against": "a", "methods": differences(report["clips"], "a")}
    report["means"] = means(report["clips"])
    assert "0.50 [0.50, 0.50] better | -0.500 [-0.500, -0.500] better |" in differences_table(report)
    assert "Sharpness from 1 ↓" in differences_table(report) and html(report, []).count("<b>better</b>") == 2


def test_json_is_rounded_and_short(report):
    report["clips"][0]["per_frame"]["psnr_y"] = [1 / 3, None, 123456.789, 2]
    text = report_json(report)
    assert "[0.333333, null, 123457.0, 2]" in text
    assert [record["clip"] for record in json.loads(text)["clips"]] == [record["clip"] for record in report["clips"]]
    assert list(json.loads(text)) == list(report) and report_json(report) == text
    report["clips"][1]["scores"]["psnr_y"] = float("nan")
    with pytest.raises(ValueError, match=r"report\.clips\[1\]\.scores\.psnr_y is nan"):
        report_json(report)


class Page(HTMLParser):
    """Notes what a page loads and shows, and whether its tags are closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.sources, self.svgs, self.rows = [], [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        self.svgs += tag == "svg"
        self.rows += tag == "tr"
        if tag not in ("meta", "img", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]


def frames_at(path, indices):
    rng = np.random.default_rng(len(path))
    size = (60, 80) if path.endswith("lq") else (240, 320)
    return {index: rng.integers(0, 255, (*size, 3), dtype=np.uint8) for index in indices}


def test_the_page_needs_nothing_else(report):
    worst = worst_frames(report, 5, frames_at)
    page = Page(html(report, worst))
    assert page.open == [] and page.svgs == 3 + 4
    assert len(page.sources) == 15 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    text = html(report, worst)
    assert "clip &lt;0&gt;" in text and "<help>" not in text


def test_worst_frames_come_first(report):
    worst = worst_frames(report, 3, frames_at)
    assert [(found.method, found.clip) for found in worst] == [
        ("bicubic", "clip <0>"),
        ("ours", "clip <0>"),
        ("bicubic", "clip <1>"),
    ]
    assert [found.frame for found in worst] == [2, 2, 2]  # the second measured one, of every second frame
    assert worst[0].value == pytest.approx(29.0)


def test_worst_frames_are_read_once(report):
    read = []
    worst_frames(report, 24, lambda path, indices: read.append(path) or frames_at(path, indices))
    assert len(read) == len(set(read)) == 4 * 3  # methods share their outputs here, too


def test_worst_place_finds_a_planted_fault():
    original = np.full((400, 600, 3), 100, np.uint8)
    output = original.copy()
    output[250:270, 500:520] = 200
    top, left = worst_place(output, original)
    assert top <= 250 and top + CROP_PX >= 270 and left <= 500 and left + CROP_PX >= 520


def test_plots_are_drawings():
    for svg in (
        dots({"a": {"mean": 1, "low": 0, "high": 2}, "b<": {"mean": 1, "low": 1, "high": 1}}, 2),
        curves({"a": [1.0, None, 3.0], "b": [], "c": [2.0, 2.0, 2.0]}, 2),
    ):
        ElementTree.fromstring(svg)
    assert curves({"a": [1.0, None, 3.0, 4.0]}, 2).count("<polyline") == 2


def test_a_method_keeps_its_colour():
    mean = {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert 'class="m1"' in dots({"without": None, "with": mean}, 2) and "without" not in dots(
        {"without": None, "with": mean}, 2
    )
    assert 'class="m1"' in curves({"without": [], "with": [1.0]}, 2)


def test_a_single_value_is_drawn():
    (points,) = re.findall(r'points="([^"]*)"', curves({"a": [None, 1.0, None]}, 2))
    assert len(points.split()) == 2


def test_long_curves_keep_their_peaks():
    curve = [float(number % 7) for number in range(10 * GROUPS)]
    curve[1234] = 50.0
    svg = curves({"a": curve}, 2, every=3)
    (points,) = re.findall(r'points="([^"]*)"', svg)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert len(heights) <= 2 * GROUPS and min(heights) == 10 and ">50.00<" in svg
    assert f">{3 * (10 * GROUPS - 1)}<" in svg


def test_vsreval_layout(report, tmp_path):
    written = write_vsreval(report, tmp_path)
    psnr = json.loads((tmp_path / "ours" / "psnr_y.json").read_text())
    assert psnr["count"] == 4 and psnr["average"] == pytest.approx(report["means"]["ours"]["psnr_y"]["mean"])
    results = json.loads((tmp_path / "bicubic" / "results.json").read_text())
    assert results["per_sample"]["clip <1>"]["sharpness"] == 0.5 and results["protocol"].startswith("patchvsr")
    assert len(written) == 2 * 3


def test_scores_of_the_same_name_are_not_passed_for_those_of_vsreval(report, tmp_path):
    for clip in report["clips"]:
        clip["scores"] |= {"niqe": 5.0, "psnr_rgb": 30.0}
    written = {path.name for path in write_vsreval(report, tmp_path)}
    assert written == {"psnr.json", "psnr_y.json", "sharpness.json", "results.json"}
    results = json.loads((tmp_path / "ours" / "results.json").read_text())
    assert any(warning.startswith("niqe: left out") for warning in results["warnings"])
    assert results["average"]["psnr"] == 30
