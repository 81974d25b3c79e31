"""The quality of the bundled models on clips that this project makes itself: a change of it does not go unseen.

Figures are those of the shipped weights, measured in float32. A model that is meant to be better brings new figures.
"""

from __future__ import annotations

import functools

import pytest
import torch

from patchvsr.degradation.degrade import PRESETS, degrade
from patchvsr.evaluation.synthetic import camera_move, load_photo
from patchvsr.loading import load_pipeline
from patchvsr.measures.meter import FrameTriple
from patchvsr.measures.panel import ClipFacts, Panel
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings

SIZE = Size(256, 192)
# Without steps, mini restores as fast does; with all of its detail, a change of the transformer shows most.
MODES = {"mini": dict(num_inference_steps=1, detail=1.0), "fast": dict(num_inference_steps=0)}
TOLERANCES = {"psnr_y": 0.1, "ssim_y": 0.003, "jod": 0.05, "features": 0.01, "sharpness": 0.02, "warping_error": 0.1}
FIGURES = {
    ("mini", "astronaut", "bicubic"): dict(
        psnr_y=24.91, ssim_y=0.8086, jod=8.008, features=0.3577, sharpness=0.3021, warping_error=4.493
    ),
    ("mini", "coffee", "bicubic"): dict(
        psnr_y=26.85, ssim_y=0.7872, jod=8.393, features=0.3774, sharpness=0.2101, warping_error=2.706
    ),
    ("mini", "astronaut", "light"): dict(
        psnr_y=24.43, ssim_y=0.7680, jod=7.641, features=0.5393, sharpness=0.2858, warping_error=6.502
    ),
    ("fast", "astronaut", "bicubic"): dict(
        psnr_y=24.97, ssim_y=0.8115, jod=8.022, features=0.3613, sharpness=0.2932, warping_error=4.309
    ),
    ("fast", "coffee", "bicubic"): dict(
        psnr_y=26.90, ssim_y=0.7905, jod=8.404, features=0.3920, sharpness=0.1968, warping_error=2.424
    ),
    ("fast", "astronaut", "light"): dict(
        psnr_y=24.48, ssim_y=0.7715, jod=7.655, features=0.5396, sharpness=0.2747, warping_error=6.381
    ),
}


@functools.cache
def pipeline(model: str) -> PatchVSRPipeline:
    return load_pipeline(RestoreSettings(model=model))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "photo", "damage"), FIGURES)
def test_quality_is_what_it_was(model, photo, damage):
    original = torch.stack(list(camera_move(load_photo(photo), SIZE, 5)))
    lq = degrade(original, 4, torch.Generator().manual_seed(0), PRESETS[damage])
    restored = pipeline(model)(lq, seed=0, **MODES[model]).frames
    panel = Panel(["psnr", "ssim", "jod", "features", "sharpness", "warping"], ClipFacts(24), frozenset({"original"}))
    for output, target in zip(restored, original, strict=True):
        panel.update(FrameTriple(output, target))
    scores = panel.result()
    for name, tolerance in TOLERANCES.items():
        assert scores[name] == pytest.approx(FIGURES[model, photo, damage][name], abs=tolerance), name
