"""A report finds what was put into an output, and nothing in the bicubic canvas itself."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchvsr.errors import InputError, OutputError
from patchvsr.evaluation.report import _evenly, measure_output, report_path, write_report
from patchvsr.measures.flicker import flicker_score
from patchvsr.media import EncodeSettings, Frame, open_reader, open_writer
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.settings import ReadSettings
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

SCALE = 4
PATCHES = dict(patch_px=64, cell_px=16)  # mode auxiliary: lines at every 32 px of the 256x256 output


def texture(seed: int) -> Tensor:
    """A soft picture (3, 64, 64) between 0.2 and 0.8."""
    generator = torch.Generator().manual_seed(seed)
    return resize_bicubic(torch.rand((1, 3, 4, 4), generator=generator), Size(64, 64))[0] * 0.6 + 0.2


def moving(count: int, seed: int = 0) -> Tensor:
    """(F, 3, 64, 64): the picture rolls by slowly, so that every pair of frames differs."""
    return torch.stack([texture(seed).roll((0, index), dims=(1, 2)) for index in range(count)])


def canvas(frames: Tensor) -> Tensor:
    return resize_bicubic((frames * 255).round() / 255, Size(64 * SCALE, 64 * SCALE))


def write(path: Path, frames: Tensor) -> Path:
    with LosslessWriter(path) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, Fraction(index, 25))
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "in.mkv", moving(6))


def measured(source: Path, frames: Tensor, **settings) -> dict:
    output = write(source.with_name(f"out {len(list(source.parent.iterdir()))}.mkv"), frames)
    return measure_output(source, output, **PATCHES, **settings)


def test_bicubic_itself_scores_exactly_one(source):
    result = measured(source, canvas(moving(6)))
    assert (result["input_size"], result["output_size"]) == ("64x64", "256x256")
    assert (result["frames"], result["frames_measured"]) == (6, 6)
    assert result["flicker"]["score"] == 1.0
    assert result["flicker"]["pairs"] == 5
    assert result["flicker"]["output_change_levels"] == result["flicker"]["bicubic_change_levels"] > 0.5
    assert result["chroma_difference_levels"] == 0.0
    assert result["seams"]["output"] == result["seams"]["bicubic"]


def test_flicker_scores_above_one(source):
    steady = canvas(moving(6))
    steady[::2] += 3 / 255
    result = measured(source, steady)
    assert result["flicker"]["score"] > 1.1
    assert result["flicker"]["output_change_levels"] > result["flicker"]["bicubic_change_levels"]


def test_what_does_not_change_does_not_flicker(tmp_path):
    still = moving(1).expand(4, 3, 64, 64)
    source = write(tmp_path / "still.mkv", still)
    assert measured(source, canvas(still))["flicker"]["score"] == 1.0
    trembling = canvas(still)
    trembling[1::2] += 1 / 255
    assert measured(source, trembling)["flicker"]["score"] == pytest.approx(1.01 / 0.01, abs=0.01)


def test_flicker_is_the_ratio_of_mean_changes():
    assert flicker_score([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert flicker_score([2.0, 6.0], [1.0, 3.0]) == pytest.approx(4.01 / 2.01)


def test_a_tint_is_counted_in_levels_of_chroma(source):
    tinted = canvas(moving(6))
    tinted[:, 2] += 8 / 255
    expected = (0.5 * 8 + 0.0722 / 1.5748 * 8) / 2  # blue is half of Cb and little of Cr
    result = measured(source, tinted)
    assert result["chroma_difference_levels"] == pytest.approx(expected, abs=1e-3)
    assert result["flicker"]["score"] == pytest.approx(1.0, abs=1e-3)
    brighter = measured(source, canvas(moving(6)) + 8 / 255)
    assert brighter["chroma_difference_levels"] == pytest.approx(0.0, abs=1e-3)


def test_a_seam_at_a_patch_line_is_found(source):
    stepped = canvas(moving(6))
    stepped[..., 96:] += 12 / 255
    seams = measured(source, stepped)["seams"]
    assert seams["output"]["worst_patch_line_at"] == "x=96"
    assert seams["output"]["worst_patch_line"] > 2 * seams["bicubic"]["worst_patch_line"]
    assert seams["output"]["ratio_of_means"] > seams["bicubic"]["ratio_of_means"] + 0.1
    assert seams["output"]["patch_lines"] == 14  # 7 rows and 7 columns


def test_a_step_between_patch_lines_is_only_a_control(source):
    stepped = canvas(moving(6))
    stepped[..., 112:] += 12 / 255
    seams = measured(source, stepped)["seams"]
    assert seams["output"]["worst_control_line"] > 2 * seams["bicubic"]["worst_control_line"]
    assert seams["output"]["ratio_of_means"] < seams["bicubic"]["ratio_of_means"]


def test_patch_lines_follow_the_joint_mode(source):
    frames = canvas(moving(6))
    lines = {
        mode: measured(source, frames, joint_mode=mode, steps=4)["seams"]["output"]["patch_lines"]
        for mode in ("independent", "auxiliary")
    }
    assert lines == {"independent": 6, "auxiliary": 14}


def test_a_cut_is_no_flicker(tmp_path):
    shots = torch.cat([moving(5) * 0.4, 1 - moving(5, seed=9) * 0.4])
    source = write(tmp_path / "in.mkv", shots)
    result = measured(source, canvas(shots))
    assert (result["flicker"]["pairs"], result["frames_measured"]) == (8, 10)


def test_a_part_is_compared_with_that_part(source):
    result = measured(source, canvas(moving(6)[1:5]), read=ReadSettings(start_s=0.04, end_s=0.2))
    assert (result["frames"], result["flicker"]["score"]) == (4, 1.0)


@pytest.mark.parametrize(("count", "word"), [(5, "fewer"), (7, "more")])
def test_another_number_of_frames_is_refused(source, count, word):
    with pytest.raises(InputError, match=f"{word} frames than"):
        measured(source, canvas(moving(count)))


def test_long_videos_are_measured_at_evenly_spaced_frames():
    for length in (1, 5, 6, 7, 17, 100, 1000):
        kept, count = _evenly(iter(range(length)), lambda item: item, 6)
        assert count == length
        assert min(length, 2) <= len(kept) <= 6
        assert kept == list(range(0, length, 1 if len(kept) < 2 else kept[1]))
    assert _evenly([7, 8, 9], lambda item: item, 1) == ([7], 3)


def test_the_limit_holds(source):
    result = measured(source, canvas(moving(6)), max_pairs=2)
    assert (result["frames"], result["frames_measured"]) == (6, 2)


def test_a_single_small_image_of_16_bits(tmp_path):
    source = write(tmp_path / "in.mkv", moving(1))
    with open_reader(source) as reader:
        info = reader.info
    settings = EncodeSettings()
    deep = (canvas(moving(1))[0].permute(1, 2, 0)[:128, :128] * 65535).round().numpy().astype("uint16")
    with open_writer(tmp_path / "frames", source=info, size=Size(128, 128), settings=settings) as writer:
        writer.write(Frame(deep, 0, 1, info.time_base))
    result = measure_output(tmp_path / "frames", tmp_path / "frames", patch_px=512, cell_px=16)
    assert result["flicker"] is None
    seams = result["seams"]["output"]
    assert seams.pop("worst_control_line") > 0
    assert seams == {
        "patch_lines": 0,
        "worst_patch_line": None,
        "worst_patch_line_at": None,
        "ratio_of_means": None,
    }
    assert result["chroma_difference_levels"] == 0.0


def test_a_report_is_readable_json_and_replaced_as_a_whole(tmp_path):
    path = report_path(tmp_path / "clip ä.mkv")
    assert path.name == "clip ä.mkv.report.json"
    write_report(path, {"job": {"output": Path("ä.mkv"), "rate": Fraction(1, 3)}})
    write_report(path, {"job": {"output": Path("ö.mkv"), "rate": Fraction(1, 3)}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"job": {"output": "ö.mkv", "rate": "1/3"}}
    assert "ö" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_report(path, {"speed": float("nan")})
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "missing" / "r.json", {})
