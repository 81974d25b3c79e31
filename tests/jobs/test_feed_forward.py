"""Jobs with a model that has no transformer: resumed, cut into tiles, and what it cannot do is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from jobfiles import NARROW, digest, make_shots, run
from test_resume import one_unit_at_a_time

from patchvsr.errors import SettingsError
from patchvsr.jobs.memory import chunk_memory
from patchvsr.loading import load_pipeline
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings


@pytest.fixture(scope="module")
def pipeline() -> PatchVSRPipeline:
    return toy.feed_forward_pipeline()


def test_stopped_after_every_unit(tmp_path: Path, pipeline: PatchVSRPipeline) -> None:
    source = make_shots(tmp_path / "in.mkv", (25, 10), size=NARROW)
    run(source, tmp_path / "whole.mkv", pipeline)
    assert one_unit_at_a_time(source, tmp_path / "stopped.mkv", pipeline) > 2
    assert digest(tmp_path / "stopped.mkv") == digest(tmp_path / "whole.mkv")


@pytest.mark.parametrize("size", [(97, 61), (8, 8), (200, 3)])
def test_any_size_and_tiles_equal_the_whole(pipeline: PatchVSRPipeline, size: tuple[int, int]) -> None:
    """The canvas is padded to whole cells, not to a patch, as there are none."""
    lq = toy.video(6, max(1, size[1] // 4), max(1, size[0] // 4))
    whole, tiled = (pipeline(lq, size=size, tile_px=tile_px).frames for tile_px in (None, 48))
    assert whole.shape == (6, 3, size[1], size[0])
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    padded = pipeline.padded_size(Size(*size))
    assert padded.width - size[0] < 8 and padded.height - size[1] < 8


def test_it_is_the_restorer_of_a_whole_model() -> None:
    whole = toy.pipeline()
    alone, lq = toy.feed_forward_pipeline(whole), toy.video(5, 24, 32)
    wanted = whole(lq, num_inference_steps=0, color_match=False).frames
    assert torch.equal(alone(lq, color_match=False).frames, wanted)
    assert not torch.equal(whole(lq, color_match=False).frames, wanted)


def test_less_memory_than_with_a_transformer(pipeline: PatchVSRPipeline) -> None:
    settings, size = pipeline.resolve(RestoreSettings()), Size(1280, 720)
    assert settings.num_inference_steps == 0
    whole = toy.pipeline()
    assert chunk_memory(pipeline, size, settings, 17) < chunk_memory(whole, size, whole.resolve(RestoreSettings()), 17)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(num_inference_steps=1), "num_inference_steps is 1: this model has no transformer; give 0"),
        (dict(detail=0.5), "this model does not add detail"),
    ],
)
def test_refuses_what_only_a_transformer_does(
    pipeline: PatchVSRPipeline, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        pipeline(toy.video(5, 16, 16), **settings)


def test_refuses_a_share_of_detail_that_comes_from_the_model() -> None:
    pipeline = toy.feed_forward_pipeline()
    pipeline.register_to_config(detail=0.5)
    with pytest.raises(SettingsError, match=r"detail is 0\.5: this model does not add detail"):
        pipeline.resolve(RestoreSettings())


@pytest.mark.parametrize(
    "settings",
    [
        dict(scheduler="unipc"),
        dict(storage_dtype="float8_e5m2"),
        dict(cpu_offload=True),
        dict(compile=True),
        dict(attention_backend="flash"),
    ],
)
def test_refuses_options_of_a_transformer(tmp_path: Path, pipeline: PatchVSRPipeline, settings: dict[str, Any]) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    (name,) = settings
    with pytest.raises(SettingsError, match=f"{name} is for the transformer, and this model has none"):
        load_pipeline(RestoreSettings(model=str(tmp_path / "model"), **settings))
