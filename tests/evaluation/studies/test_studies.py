"""Studies: their rows, that what is left out is really left out and comes back, and what seams and patches are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toy
from footage import one_shot, write_video

from patchvsr.errors import InputError, SettingsError
from patchvsr.evaluation.studies.ablation import VARIANTS, ablation, relative_change, without_lora
from patchvsr.evaluation.studies.clips import StudyClip, made_clips, read_clips
from patchvsr.evaluation.studies.joint import joint
from patchvsr.evaluation.studies.patches import WHOLE, disagreement, patches
from patchvsr.evaluation.studies.restored import boxes_of, restore, seam_lines
from patchvsr.evaluation.studies.run import record, table, times_plot
from patchvsr.evaluation.studies.steps import steps
from patchvsr.evaluation.studies.tables import differences
from patchvsr.evaluation.studies.tiled import extend_positions, with_patches, with_whole_frames
from patchvsr.patches.grid import Box
from patchvsr.patches.windows import MODES
from patchvsr.pixels.size import Size

METRICS = ["psnr"]
SIZE = Size(160, 96)


def clip(name: str = "clip", frames: int = 5) -> StudyClip:
    return StudyClip(name, toy.video(frames, 24, 40), toy.video(frames, *SIZE[::-1], seed=1))


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline()


def rows_by(rows, key):
    return {row[key]: row for row in rows}


# --- ablation ------------------------------------------------------------------------------------------------------


def test_every_part_of_a_random_model_matters(pipeline):
    rows = rows_by(ablation(pipeline, [clip()], noise_timestep=300.0, metrics=METRICS), "variant")
    assert list(rows) == list(VARIANTS)
    changes = {name: row["velocity_change"] for name, row in rows.items() if "skipped" not in row}
    assert changes.pop("all") == 0
    assert changes.keys() == VARIANTS.keys() - {"all", "without LoRA"}
    assert all(0 < change < 2 for change in changes.values()), changes
    assert all(row["psnr_y"] > 0 for row in rows.values() if "skipped" not in row)


def test_what_a_model_does_not_have_is_said(pipeline):
    rows = rows_by(ablation(pipeline, [clip()], metrics=METRICS), "variant")
    assert rows["without LoRA"] == {
        "clip": "clip", "variant": "without LoRA", "steps": 1, "skipped": "this model's LoRA is merged into its weights"
    }  # fmt: skip
    assert rows["without noise augmentation"]["skipped"] == "the noise timestep is 0 already"


def test_a_dead_branch_shows():
    pipe = toy.pipeline()
    for block in pipe.transformer.blocks:
        torch.nn.init.zeros_(block.patch_proj.weight)
        torch.nn.init.zeros_(block.patch_proj.bias)
    rows = rows_by(ablation(pipe, [clip()], metrics=METRICS), "variant")
    assert rows["without patch branch"]["velocity_change"] == 0
    assert rows["without global branch"]["velocity_change"] > 0


@pytest.mark.parametrize("name", VARIANTS)
def test_a_part_that_was_left_out_is_back(pipeline, name: str):
    if name == "without LoRA":
        return
    before = restore(pipeline, clip(), steps=1).velocity
    with VARIANTS[name].change(pipeline.transformer):
        pass
    assert torch.equal(restore(pipeline, clip(), steps=1).velocity, before)


def test_without_lora_is_the_base():
    model = toy.trained(toy.transformer())
    patch, time = toy.noisy_latents(1), toy.timesteps(1)
    with torch.no_grad():
        whole = model(patch, time).sample
        with without_lora(model):
            bare = model(patch, time).sample
        again = model(patch, time).sample
    assert relative_change(bare, whole) > 0
    assert torch.equal(again, whole)


def test_the_velocity_is_that_of_the_model(pipeline):
    """Recovered from one Euler step, of any length."""
    one, three = (restore(pipeline, clip(), steps=count).velocity for count in (1, 3))
    assert one.std() > 0
    torch.testing.assert_close(one, three, rtol=0, atol=1e-4)


# --- joint denoising -----------------------------------------------------------------------------------------------


def test_every_joint_mode_is_scored_at_its_own_lines(pipeline):
    rows = rows_by(joint(pipeline, [clip()], metrics=METRICS), "mode")
    assert list(rows) == list(MODES)
    for row in rows.values():
        assert {"psnr_y", "seam_ratio", "worst_seam", "seconds_per_frame"} <= row.keys()
    assert rows["independent"]["worst_seam"] != rows["auxiliary"]["worst_seam"]


def test_control_lines_lie_between_patch_lines(pipeline):
    boxes = boxes_of(pipeline, clip(), "independent")
    (rows, columns), (control_rows, control_columns) = seam_lines(boxes, 8, SIZE)
    # Patches of 8 cells begin at rows 0 and 4 and at columns 0, 4 and 12: the last ones reach the border.
    assert (rows, columns) == ([32, 64], [32, 64, 96])
    assert control_rows == [8, 16, 24, 40, 48, 56, 72, 80, 88]
    assert control_columns == [*control_rows, 104, 112, 120, 128, 136, 144, 152]


# --- patches -------------------------------------------------------------------------------------------------------


def test_patches_are_compared_with_whole_frames(pipeline):
    own = boxes_of(pipeline, clip(), "overlap")
    found = list(patches(pipeline, [clip()], sides_px=[64], overlaps=[0.0, 0.5], metrics=METRICS))
    whole, *tiled = found
    assert (whole["patch"], whole["patches"], whole["patch_penalty_levels"]) == (WHOLE, 1, 0)
    assert whole["disagreement"] is None
    assert [row["patches"] for row in tiled] == [6, 8]
    assert all(row["patch_penalty_levels"] > 0 for row in tiled)
    assert all(0 < row["disagreement"] < 1 for row in tiled)
    assert boxes_of(pipeline, clip(), "overlap") == own, "the pipeline itself keeps its patches"


def test_a_whole_frame_of_one_patch_is_that_patch(pipeline):
    small = StudyClip("small", toy.video(5, 16, 16), toy.video(5, 64, 64))
    patchwise = restore(pipeline, small, steps=1).frames
    assert torch.equal(restore(with_whole_frames(pipeline), small, steps=1).frames, patchwise)
    assert torch.equal(restore(with_patches(pipeline, 64, 0.25), small, steps=1).frames, patchwise)


def test_disagreement_is_the_spread_over_shared_cells():
    boxes = [Box(0, 1, 0, 1, 0, 2), Box(0, 1, 0, 1, 1, 3)]
    values = [torch.tensor([[[[9.0, 1.0]]]]), torch.tensor([[[[3.0, 9.0]]]])]  # 1 and 3 meet: 2 +- 1
    assert disagreement(boxes, values) == pytest.approx((1 / 5) ** 0.5)
    assert disagreement(boxes, [torch.ones(1, 1, 1, 2)] * 2) == 0
    assert disagreement(boxes[:1], values[:1]) is None


def test_positions_that_exist_stay():
    model = toy.transformer(toy.base(rope_max_seq_len=8))
    before = model.rope
    extend_positions(model, (2, 8, 16))  # eight tokens across
    assert model.rope is before
    extend_positions(model, (2, 8, 40))
    assert model.rope.freqs_cos.shape[0] == 20
    assert torch.equal(model.rope.freqs_cos[:8], before.freqs_cos)
    assert torch.equal(model.rope.freqs_sin[:8], before.freqs_sin)


# --- steps, clips, files -------------------------------------------------------------------------------------------


def test_steps_begin_with_the_canvas(pipeline):
    rows = list(steps(pipeline, [clip()], steps=[0, 2], metrics=METRICS))
    assert [row["steps"] for row in rows] == ["bicubic", 0, 2]
    assert len({row["psnr_y"] for row in rows}) == 3


def test_clips_are_the_centre_of_the_first_frames(tmp_path: Path):
    write_video(tmp_path / "a.mkv", one_shot(4, seed=0))
    (found,) = read_clips(tmp_path, frames=3, scale=4, size=Size(64, 44))
    assert found.name == "a"
    assert (found.original.shape, found.lq.shape) == ((3, 3, 44, 64), (3, 3, 11, 16))
    whole = torch.from_numpy(one_shot(4, seed=0)[:3]).permute(0, 3, 1, 2) / 255
    assert torch.equal(found.original, whole[..., 58:102, 40:104])


def test_clips_that_are_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="holds no videos"):
        next(read_clips(tmp_path, frames=3, scale=4))
    write_video(tmp_path / "a.mkv", one_shot(1, seed=0))
    with pytest.raises(SettingsError, match="smaller than the size 640x480"):
        next(read_clips(tmp_path, frames=3, scale=4, size=Size(640, 480)))


def test_made_clips_move():
    found = list(made_clips(frames=2, scale=4, size=SIZE))
    assert [each.name for each in found] == ["flat gradient", "texture", "photo"]
    for each in found:
        assert each.lq.shape == (2, 3, 24, 40)
        assert not torch.equal(each.original[0], each.original[1])


def test_rows_are_written_one_by_one(tmp_path: Path):
    rows = ({"clip": name, "steps": 1, "psnr_y": value} for name, value in (("a", 30.0), ("b", 31.0)))
    kept = []
    for row in record("steps", rows, {"model": "toy"}, tmp_path / "out"):
        kept.append(row)
        written = json.loads((tmp_path / "out" / "steps.json").read_text())
        assert written == {"study": "steps", "model": "toy", "rows": kept, "differences": []}
    assert (tmp_path / "out" / "steps.md").read_text() == table("steps", kept) + "\n"


def test_differences_are_taken_clip_by_clip():
    rows = [
        {"clip": clip, "mode": mode, "steps": steps, "psnr_y": 30.0 + 5 * number + better + steps}
        for number, clip in enumerate("abcdef")
        for mode, better in (("auxiliary", 0.0), ("overlap", -0.5))
        for steps in (1, 4)
    ]
    same = pytest.approx({"mean": -0.5, "low": -0.5, "high": -0.5, "clips": 6})
    assert differences(rows, ("mode", "steps")) == [
        {"clip": "difference", "mode": "overlap", "steps": 1, "psnr_y": same},
        {"clip": "difference", "mode": "overlap", "steps": 4, "psnr_y": same},
    ]
    (by_steps,) = differences([row for row in rows if row["mode"] == "overlap"], ("steps",))
    assert (by_steps["steps"], by_steps["psnr_y"]["mean"]) == (4, pytest.approx(3.0))


def test_a_table_has_all_columns_and_means():
    rows = [
        {"clip": "a", "variant": "all", "steps": 1, "psnr_y": 30.0},
        {"clip": "a", "variant": "less", "steps": 1, "skipped": "why"},
        {"clip": "b", "variant": "all", "steps": 1, "psnr_y": 32.0},
        {"clip": "b", "variant": "less", "steps": 1, "skipped": "why"},
    ]
    assert table("ablation", rows).splitlines() == [
        "| clip | variant | steps | psnr_y | skipped |",
        "| --- | --- | --- | --- | --- |",
        "| a | all | 1 | 30 |  |",
        "| a | less | 1 |  | why |",
        "| b | all | 1 | 32 |  |",
        "| b | less | 1 |  | why |",
        "| mean | all | 1 | 31 |  |",
        "| mean | less | 1 |  | why |",
        "| difference | less | 1 |  |  |",
    ]


def test_a_plot_has_a_line_for_every_tiling():
    rows = [
        {"tiling": name, "megapixels": float(size), "step_s": float(size**power)}
        for name, power in (("whole <frame>", 2), ("patches", 1))
        for size in (1, 10)
    ]
    plot = times_plot([*rows, {"tiling": "patches", "megapixels": 100.0, "skipped": "too much"}])
    assert plot.count("<polyline") == 2
    assert 'points="64.0,352.0 616.0,24.0"' in plot, "square growth: from corner to corner"
    assert 'points="64.0,352.0 616.0,188.0"' in plot, "linear growth: half as steep"
    assert "whole &lt;frame&gt;" in plot
    assert times_plot([rows[0] | {"step_s": 1.0}]) is not None
    assert times_plot([]) is None
