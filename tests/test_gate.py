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
        psnr_y=24.45, ssim_y=0.7841, jod=7.923, features=0.4080, sharpness=0.2635, warping_error=5.250
    ),
    ("mini", "coffee", "bicubic"): dict(
        psnr_y=26.44, ssim_y=0.7689, jod=8.260, features=0.4117, sharpness=0.1897, warping_error=3.356
    ),
    ("mini", "astronaut", "light"): dict(
        psnr_y=24.10, ssim_y=0.7573, jod=7.651, features=0.5400, sharpness=0.2636, warping_error=6.380
    ),
    ("fast", "astronaut", "bicubic"): dict(
        psnr_y=24.49, ssim_y=0.7882, jod=7.938, features=0.4084, sharpness=0.2460, warping_error=4.987
    ),
    ("fast", "coffee", "bicubic"): dict(
        psnr_y=26.49, ssim_y=0.7744, jod=8.267, features=0.4210, sharpness=0.1679, warping_error=3.017
    ),
    ("fast", "astronaut", "light"): dict(
        psnr_y=24.15, ssim_y=0.7616, jod=7.660, features=0.5421, sharpness=0.2450, warping_error=6.221
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
