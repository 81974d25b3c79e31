"""The image node: batches (B, H, W, C) in [0, 1] in and out, as many as fit into memory."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import toy
from torch import Tensor

from patchvsr.errors import PatchVSRError
from patchvsr.loading import load_pipeline
from patchvsr.settings import RestoreSettings

INPUTS = dict(factor=2.0, model="mini", steps=1, restoration=0.25, seed=3, one_shot=True)


def images(count: int) -> Tensor:
    return toy.video(count, 20, 24).movedim(1, -1)


def run(nodes: ModuleType, batch: Tensor, model: Path, **inputs: Any) -> Tensor:
    with torch.inference_mode():  # as ComfyUI executes nodes
        (restored,) = nodes.UpscaleImages.execute(images=batch, other_model=str(model), **(INPUTS | inputs)).args
    return restored


def test_a_batch_is_restored_as_the_pipeline_does_it(nodes: ModuleType, model: Path) -> None:
    restored = run(nodes, images(6), model)
    assert restored.shape == (6, 40, 48, 3) and restored.dtype == torch.float32 and restored.is_contiguous()
    assert restored.min() >= 0 and restored.max() <= 1
    pipeline = load_pipeline(RestoreSettings(model=str(model), device="cpu"))
    expected = pipeline(toy.video(6, 20, 24), scale=2.0, num_inference_steps=1, restoration=0.25, seed=3).frames
    assert torch.equal(restored, expected.movedim(1, -1))


def test_single_images_know_nothing_of_each_other(nodes: ModuleType, model: Path) -> None:
    import comfy.utils

    batch = images(3)
    restored = run(nodes, batch, model, one_shot=False)
    assert [value for value, _, _ in comfy.utils.steps] == [1, 2, 3]
    for image, alone in zip(restored, batch.split(1), strict=True):
        assert torch.equal(image, run(nodes, alone, model)[0])
    assert not torch.equal(restored[1:], run(nodes, batch, model)[1:])


def test_more_images_than_memory_is_meant_for_are_refused(nodes: ModuleType, model: Path) -> None:
    with pytest.raises(PatchVSRError, match=r"got 65 images, at most 64 .* use PatchVSR Upscale Video"):
        run(nodes, torch.zeros(1).expand(65, 8, 8, 3), model)


def test_alpha_is_refused(nodes: ModuleType, model: Path) -> None:
    with pytest.raises(PatchVSRError, match="4 channels: give RGB"):
        run(nodes, torch.zeros(1, 8, 8, 4), model)


def test_a_cancel_is_heard(nodes: ModuleType, model: Path) -> None:
    import comfy.model_management

    comfy.model_management.interrupted = True
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(nodes, images(1), model)
