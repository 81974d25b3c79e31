"""Meters that see how a clip was made, and the panel that shows it to all of them."""

from __future__ import annotations

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.errors import SettingsError
from patchvsr.measures.colour import ColourMeter
from patchvsr.measures.meter import FrameTriple
from patchvsr.measures.panel import ALL_SCORES, METERS, ClipFacts, Panel
from patchvsr.measures.seams import JoinMeter, SeamRatioMeter
from patchvsr.measures.temporal import FlickerMeter


def shown(meter, output: Tensor, canvas: Tensor | None = None, cuts: tuple[int, ...] = ()) -> dict[str, float]:
    for index, frame in enumerate(output):
        meter.update(FrameTriple(frame, None, None if canvas is None else canvas[index], index in cuts))
    return dict(meter.result())


@pytest.mark.parametrize("levels", [0, 2, 7])
def test_colour_shift_is_a_planted_tint(levels):
    canvas = toy.video(2, 64, 96) * 0.8
    assert shown(ColourMeter(), canvas + levels / 255, canvas)["colour_shift"] == pytest.approx(levels, abs=1e-3)


def test_colour_shift_ignores_detail():
    canvas = torch.full((1, 3, 64, 64), 0.5)
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 - 0.5
    assert shown(ColourMeter(), canvas + 0.2 * checkers, canvas)["colour_shift"] == pytest.approx(0, abs=1e-3)


def test_seam_ratio_finds_a_planted_seam():
    lines, control = ([128], [128]), ([64, 192], [64, 192])
    clip = 0.4 + 0.05 * toy.video(2, 256, 256)
    stepped = clip.clone()
    stepped[..., 128:] += 0.05
    assert shown(SeamRatioMeter(lines, control), clip)["seam_ratio"] == pytest.approx(1, abs=0.05)
    found = shown(SeamRatioMeter(lines, control), stepped)
    assert found["seam_ratio"] > 1.1 and found["worst_seam"] > found["seam_ratio"]
    assert shown(SeamRatioMeter(control, lines), stepped)["seam_ratio"] < 1


def test_a_contour_on_a_patch_line_is_no_seam_if_the_canvas_has_it():
    lines, control = ([], [128]), ([], [64, 192])
    canvas = 0.4 + 0.05 * toy.video(2, 256, 256)
    canvas[..., 128:] += 0.05
    assert shown(SeamRatioMeter(lines, control), canvas)["seam_ratio"] > 1.1
    assert shown(SeamRatioMeter(lines, control), canvas, canvas)["seam_ratio"] == 1
    stepped = canvas.clone()
    stepped[..., 128:] += 0.05
    assert shown(SeamRatioMeter(lines, control), stepped, canvas)["seam_ratio"] > 1.05


def test_no_lines_no_seams():
    assert shown(SeamRatioMeter(([], []), ([64], [])), toy.video(1, 128, 128)) == {}


def test_join_jump_finds_a_planted_jump():
    brightness = torch.arange(12) * 0.01
    jumped = brightness + 0.05 * (torch.arange(12) >= 6)
    steady, jump = (
        shown(JoinMeter([6]), values.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)) for values in (brightness, jumped)
    )
    assert steady["join_jump"] == pytest.approx(1, abs=0.01) and jump["join_jump"] > 4


def test_flicker_is_the_ratio_of_changes_inside_shots():
    canvas = torch.tensor([0.1, 0.2, 0.9, 0.8]).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    assert shown(FlickerMeter(), canvas, canvas, cuts=(2,)) == pytest.approx({"flicker": 1, "change": 25.5}, rel=1e-4)
    assert shown(FlickerMeter(), canvas * 0.5, canvas, cuts=(2,))["flicker"] == pytest.approx(0.5, abs=0.01)


def test_a_panel_has_the_meters_that_the_clip_allows():
    everything = frozenset({"original", "canvas"})
    assert {"psnr", "colour"} <= Panel(METERS, ClipFacts(24), everything).meters.keys()
    assert "psnr" not in Panel(METERS, ClipFacts(24), frozenset({"canvas"})).meters
    assert "joins" not in Panel(METERS, ClipFacts(24), everything).meters
    assert "joins" in Panel(METERS, ClipFacts(24, joins=[5]), everything).meters
    with pytest.raises(SettingsError, match="unknown metric 'psnrr': choose from psnr"):
        Panel(["psnrr"], ClipFacts(24), everything)


def test_every_nth_frame_is_for_meters_of_single_frames_only():
    panel = Panel(["psnr", "flicker"], ClipFacts(24), frozenset({"original", "canvas"}), every=3)
    for frame in toy.video(7, 16, 16):
        panel.update(FrameTriple(frame, frame, frame))
    lengths = {name: len(values) for name, values in panel.per_frame().items()}
    assert lengths["psnr_y"] == 3 and lengths["flicker"] == 7
    assert panel.result()["psnr_y"] == 100
    assert set(panel.seconds) == {"psnr", "flicker"}


def test_names_of_scores_are_unique():
    names = [score.name for score in ALL_SCORES]
    assert len(set(names)) == len(names)
