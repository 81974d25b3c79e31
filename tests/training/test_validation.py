"""Validation at toy size: the same numbers every time, those of the evaluation code, and nothing disturbed."""

from __future__ import annotations

import random
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
import torch
import toy
from PIL import Image
from torch import Tensor, nn

from patchvsr.degradation.lq_file import bicubic_enlarge, bicubic_reduce
from patchvsr.errors import InputError, PatchVSRError, SettingsError
from patchvsr.measures.fidelity import PsnrMeter, SsimMeter
from patchvsr.measures.meter import measure_clip
from patchvsr.measures.seams import seam_score
from patchvsr.media.tensors import read_rgb, to_array
from patchvsr.training.clips import ClipSource
from patchvsr.training.distillation import DistillStage
from patchvsr.training.logs import picture_folder, read_log
from patchvsr.training.packing import pack
from patchvsr.training.recipes import Recipe
from patchvsr.training.samples import Samples
from patchvsr.training.stages import AutoencoderStage, BaseStage, Stage
from patchvsr.training.trainer import TrainEvent, ValidationEvent, train
from patchvsr.training.validation import Validator

FRAMES, SIDE = 5, 96
NAMES = ("one.mkv", "two.mkv")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, 6 frames of 128x96 and 9 of 96x128."""
    folder = tmp_path_factory.mktemp("validation")
    for name, count, size in zip(NAMES, (6, 9), ((128, 96), (96, 128)), strict=True):
        clips.make_video(folder / name, count=count, size=size, codec="ffv1", pix_fmt="bgr0")
    return folder


@pytest.fixture(scope="module")
def source(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    packed = tmp_path_factory.mktemp("packed")
    pack(footage, packed)
    return ClipSource(packed)


def recipe(output: Path, stage: str = "distill", **settings: Any) -> Recipe:
    toy_settings: dict[str, Any] = dict(
        num_frames=FRAMES, sizes=str(toy.PATCH_PX), canvas_min=toy.PATCH_PX, canvas_max=128, validation_steps="0,1",
        validation_frames=FRAMES, validation_side=SIDE,
    )  # fmt: skip
    return Recipe(stage=stage, name=f"toy_{stage}", output=str(output), **(toy_settings | settings)).check()


def distill(chosen: Recipe) -> DistillStage:
    return DistillStage(chosen, toy.autoencoder(), toy.randomised(toy.transformer()))


def original(footage: Path, name: str) -> Tensor:
    """What is compared, read from the file itself: the first frames, the middle of each."""
    frames = torch.stack([*read_rgb(footage / name, max_frames=FRAMES)])
    top, left = ((length - SIDE) // 2 for length in frames.shape[-2:])
    return frames[..., top : top + SIDE, left : left + SIDE]


def measured(clip: Tensor, hq: Tensor, lines: tuple[list[int], list[int]] | None = None) -> dict[str, float]:
    found = measure_clip([PsnrMeter(), SsimMeter()], clip, hq)
    scores = {name: found[name] for name in ("psnr_y", "ssim_y")}
    return scores | ({"seam": seam_score(clip, *lines)} if lines else {})


def mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: pytest.approx(sum(score[name] for score in scores) / len(scores)) for name in scores[0]}


def test_scores_are_those_of_the_evaluation_code(source: ClipSource, footage: Path, tmp_path: Path) -> None:
    chosen = recipe(tmp_path)
    stage = distill(chosen)
    scores = Validator(chosen, source).run(stage, 1)
    assert list(scores) == [
        f"{degradation} LQ, {method}"
        for degradation in ("bicubic", "realbasicvsr")
        for method in ("bicubic enlargement", "steps 0", "steps 1")
    ]
    lines = stage.patch_lines(SIDE, SIDE)
    assert lines == ([16, 32, 64, 80], [16, 32, 64, 80])
    enlarged, restored = [], []
    for hq in (original(footage, name) for name in NAMES):
        lq = bicubic_reduce(hq, 4)
        enlarged.append(measured(bicubic_enlarge(lq, 4), hq, lines))
        restored.append(measured(stage.restore(lq, hq)["steps 1"].mul(255).round() / 255, hq, lines))
    assert scores["bicubic LQ, bicubic enlargement"] == mean(enlarged)
    assert scores["bicubic LQ, steps 1"] == mean(restored)
    worse, better = (scores[f"{name} LQ, bicubic enlargement"]["psnr_y"] for name in ("realbasicvsr", "bicubic"))
    assert worse < better - 1


def test_the_same_numbers_at_every_call_and_in_every_run(source: ClipSource, footage: Path, tmp_path: Path) -> None:
    """Also where files were packed in another order: seeds depend on names alone."""
    chosen = recipe(tmp_path, seed=3)
    stage, validator = distill(chosen), Validator(chosen, source)
    first = validator.run(stage, 1)
    torch.manual_seed(99)
    assert validator.run(stage, 2) == first
    assert Validator(chosen, source).run(stage, 3) == first
    (tmp_path / "again").mkdir()
    for name in reversed(NAMES):
        shutil.copy(footage / name, tmp_path / "again" / name)
        pack(tmp_path / "again", tmp_path / "packed")
    assert Validator(chosen, ClipSource(tmp_path / "packed")).run(stage, 4) == first


def test_global_random_numbers_are_the_same_at_every_call(source: ClipSource, tmp_path: Path) -> None:
    class Noisy(Stage):
        def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
            return {"noise": torch.rand_like(hq)}

    chosen = recipe(tmp_path)
    stage, validator = Noisy(chosen), Validator(chosen, source)
    first = validator.run(stage, 1)
    torch.rand(1)
    assert validator.run(stage, 2) == first


def test_sees_other_weights(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(tmp_path)
    stage, validator = distill(chosen), Validator(chosen, source)
    first = validator.run(stage, 1)
    toy.randomised(stage, std=0.05, seed=5)
    second = validator.run(stage, 2)
    changed = {method for method in first if first[method] != second[method]}
    assert changed == {method for method in first if "steps" in method}


def test_pictures_show_low_quality_outputs_and_original(source: ClipSource, footage: Path, tmp_path: Path) -> None:
    chosen = recipe(tmp_path)
    stage = distill(chosen)
    Validator(chosen, source).run(stage, 500)
    folder = tmp_path / "toy_distill" / "validation" / "step-000500"
    assert folder == picture_folder(chosen.run, 500)
    names = {f"{name}_{degradation}.png" for name in NAMES for degradation in ("bicubic", "realbasicvsr")}
    assert {file.name for file in folder.iterdir()} == names | {"panels.txt"}
    assert (folder / "panels.txt").read_text().split("\n") == ["LQ", "steps 0", "steps 1", "HQ", ""]
    for name in NAMES:
        hq = original(footage, name)
        lq = bicubic_reduce(hq, 4)
        restored = stage.restore(lq, hq)
        expected = [bicubic_enlarge(lq, 4), restored["steps 0"], restored["steps 1"], hq]
        picture = np.asarray(Image.open(folder / f"{name}_bicubic.png"))
        assert picture.shape == (SIDE, 4 * SIDE, 3)
        assert np.array_equal(picture, np.concatenate([to_array(clip[FRAMES // 2]) for clip in expected], axis=1))


def test_panels_of_large_frames_are_cut_at_the_centre(tmp_path: Path) -> None:
    clips.make_video(tmp_path / "large #1 %d.mkv", count=5, size=(560, 72), codec="ffv1", pix_fmt="bgr0")
    pack(tmp_path, tmp_path / "packed")
    chosen = recipe(tmp_path, "autoencoder", validation_side=0)
    Validator(chosen, ClipSource(tmp_path / "packed")).run(AutoencoderStage(chosen, toy.autoencoder()), 1)
    picture = np.asarray(Image.open(picture_folder(chosen.run, 1) / "large__1__d.mkv_bicubic.png"))
    frame = list(read_rgb(tmp_path / "large #1 %d.mkv"))[FRAMES // 2]
    assert picture.shape == (64, 4 * 512, 3)
    assert np.array_equal(picture[:, -512:], to_array(frame[:, 4:-4, 24:-24]))


def test_training_is_not_disturbed(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(tmp_path)
    stage = distill(chosen).train()
    stage.autoencoder.condition_encoder.eval()
    validator = Validator(chosen, source)
    modes = [module.training for module in stage.modules()]
    weights = {name: value.clone() for name, value in stage.state_dict().items()}
    states = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))
    seen: list[bool] = []
    stage.autoencoder.decoder.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    validator.run(stage, 1)
    assert [module.training for module in stage.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]
    assert all(torch.equal(value, weights[name]) for name, value in stage.state_dict().items())
    assert all(parameter.grad is None for parameter in stage.parameters())
    assert seen and not any(seen)


def test_a_validated_run_takes_the_same_steps(source: ClipSource, tmp_path: Path) -> None:
    settings = dict(steps=4, batch_size=2, log_every=2, validation_every=3, workers=0, ema_decay=0.5)
    weights, events = {}, {}
    for name in ("with", "without"):
        chosen = recipe(tmp_path / name, "autoencoder", **settings)
        torch.manual_seed(0)  # of the stage's own linear prediction
        stage = AutoencoderStage(chosen, toy.autoencoder())
        events[name] = list(
            train(
                chosen, stage, Samples(stage.make_sample, source, chosen), data_digest=source.digest,
                validator=Validator(chosen, source) if name == "with" else None,
            )
        )  # fmt: skip
        weights[name] = stage.state_dict()
    assert all(torch.equal(value, weights["without"][name]) for name, value in weights["with"].items())
    assert [(type(event), event.step) for event in events["with"]] == [
        (TrainEvent, 2), (ValidationEvent, 3), (TrainEvent, 4), (ValidationEvent, 4),
    ]  # fmt: skip
    assert read_log(tmp_path / "with" / "toy_autoencoder") == [asdict(event) for event in events["with"]]
    # The last one is of the averaged weights, with which the run ends.
    assert Validator(chosen, source).run(stage, 5) == events["with"][-1].validation


def test_modes_are_restored_after_an_error(source: ClipSource, tmp_path: Path) -> None:
    class Failing(Stage):
        def restore(self, lq: Tensor, hq: Tensor) -> dict[str, Tensor]:
            torch.rand(1)
            raise FloatingPointError

    chosen = recipe(tmp_path)
    stage, state = Failing(chosen).train(), torch.get_rng_state()
    with pytest.raises(FloatingPointError):
        Validator(chosen, source).run(stage, 1)
    assert stage.training and torch.equal(torch.get_rng_state(), state)


def test_autoencoder_stage_has_no_seams_and_true_latents_to_compare_with(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(tmp_path, "autoencoder")
    scores = Validator(chosen, source).run(AutoencoderStage(chosen, toy.autoencoder()), 1)
    methods = ("bicubic enlargement", "no latents", "true latents")
    assert list(scores) == [f"{name} LQ, {method}" for name in ("bicubic", "realbasicvsr") for method in methods]
    assert all(set(measures) == {"psnr_y", "ssim_y"} for measures in scores.values())
    assert scores["bicubic LQ, no latents"] != scores["bicubic LQ, true latents"]


def test_a_stage_that_restores_nothing_has_the_baseline_alone(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(tmp_path, "base")
    stage = BaseStage(
        chosen, toy.autoencoder(), toy.base(), nn.Parameter(toy.randn(1, toy.PROMPT_LENGTH, toy.TEXT_DIM))
    )
    scores = Validator(chosen, source).run(stage, 1)
    assert list(scores) == ["bicubic LQ, bicubic enlargement", "realbasicvsr LQ, bicubic enlargement"]
    assert not picture_folder(chosen.run, 1).exists()


def test_vmaf_where_asked_for(source: ClipSource, tmp_path: Path) -> None:
    chosen = recipe(tmp_path, "base", validation_vmaf=True)
    stage = BaseStage(
        chosen, toy.autoencoder(), toy.base(), nn.Parameter(toy.randn(1, toy.PROMPT_LENGTH, toy.TEXT_DIM))
    )
    scores = Validator(chosen, source).run(stage, 1)
    assert all(set(measures) == {"psnr_y", "ssim_y", "vmaf", "vmaf_neg"} for measures in scores.values())


@pytest.mark.parametrize("settings", [dict(validation_frames=6), dict(validation_side=100)])
def test_refuses_settings_that_no_model_takes(settings: dict[str, int], source: ClipSource, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"must be 4k\+1.*multiple of 32"):
        Validator(recipe(tmp_path, **settings), source)


@pytest.mark.parametrize("settings", [dict(validation_frames=9), dict(validation_side=128)])
def test_refuses_clips_that_are_too_small(settings: dict[str, int], source: ClipSource, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one\.mkv is 128x96 with at most 6 frames a shot"):
        Validator(recipe(tmp_path, **settings), source)


def test_missing_metrics_are_named_before_training(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(PatchVSRError, match=r"pip install 'patchvsr\[eval\]'"):
        Validator(recipe(tmp_path), source)
