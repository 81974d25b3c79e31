"""Jobs with the architecture of the next bundled model: stopped and resumed, saved and loaded, area by area."""

import pytest
import torch
import toy
from jobfiles import NARROW, digest, make_shots, run
from test_resume import one_unit_at_a_time

from patchvsr.models.mini.detail import BandEnergies
from patchvsr.models.mini.residual_autoencoder import ResidualAutoencoder
from patchvsr.pipeline import PatchVSRPipeline


@pytest.fixture(scope="module")
def pipeline():
    return toy.residual_pipeline(num_inference_steps=1)


@pytest.mark.parametrize("steps", [0, 1])
def test_stopped_after_every_unit(tmp_path, pipeline, steps):
    source = make_shots(tmp_path / "in.mkv", (25, 10), size=NARROW)
    run(source, tmp_path / "whole.mkv", pipeline, num_inference_steps=steps)
    assert one_unit_at_a_time(source, tmp_path / "stopped.mkv", pipeline, num_inference_steps=steps) > 2
    assert digest(tmp_path / "stopped.mkv") == digest(tmp_path / "whole.mkv")


def test_saved_and_loaded(tmp_path, pipeline):
    pipeline.save_pretrained(tmp_path / "model")
    loaded = PatchVSRPipeline.from_pretrained(tmp_path / "model")
    assert isinstance(loaded.vae, ResidualAutoencoder)
    lq = toy.video(6, 24, 32)
    one, other = (pipe(lq, scale=4, seed=3, return_dict=False)[0] for pipe in (pipeline, loaded))
    assert torch.equal(one, other)


def test_strength_starts_from_no_detail(pipeline):
    lq = toy.video(5, 24, 32)
    latents = pipeline(lq, strength=1e-4, output_type="latent").latents
    nothing = BandEnergies.latents(torch.zeros(1, *latents.shape))[0]
    torch.testing.assert_close(latents, nothing, rtol=0, atol=1e-3)


def test_detail_leads_from_the_restored_frame_to_the_generated_one(pipeline):
    """The dial is a straight line in pixels, whose ends are those of 0 steps and of the model's own setting."""
    lq, settings = toy.video(5, 24, 32), dict(scale=4, color_match=False, return_dict=False)
    faithful, rich = pipeline(lq, num_inference_steps=0, **settings)[0], pipeline(lq, **settings)[0]
    ends = (pipeline(lq, detail=detail, **settings)[0] for detail in (0, 1))
    assert all(torch.equal(end, known) for end, known in zip(ends, (faithful, rich), strict=True))
    assert (rich - faithful).std() > 0.01
    inside = (rich > 0) & (rich < 1) & (faithful > 0) & (faithful < 1)
    between = pipeline(lq, detail=0.25, **settings)[0]
    torch.testing.assert_close(between[inside], (0.75 * faithful + 0.25 * rich)[inside], rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 1])
def test_an_area_is_a_part_of_the_whole(pipeline, steps):
    lq, area = toy.video(5, 48, 64), (32, 120, 40, 200)
    whole, part = (
        pipeline(lq, scale=4, num_inference_steps=steps, area=wanted, return_dict=False)[0] for wanted in (None, area)
    )
    y0, y1, x0, x1 = area
    torch.testing.assert_close(part, whole[..., y0:y1, x0:x1], rtol=0, atol=1e-5)
    assert not torch.equal(part[..., 0, 0], part[..., -1, -1])
