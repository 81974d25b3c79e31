"""A plan says what the job will be, and leaves no trace."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import toy
import toy_wan
from clips import make_video

from patchvsr.errors import OutputError
from patchvsr.events import Planned
from patchvsr.jobs import calibrate as calibrate_module
from patchvsr.jobs.calibrate import Calibration, calibrate, decoded_pixels, encoded_pixels
from patchvsr.jobs.clip import RestoredClip
from patchvsr.jobs.estimate import Sum, estimate
from patchvsr.jobs.memory import choose_chunk_frames, chunk_memory
from patchvsr.jobs.plan import Chunk
from patchvsr.media import Frame
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings, UpscaleSettings
from patchvsr.upscale import upscale

CONFIG = UpscaleSettings.of(scale=2, chunk_frames=9, overlap_frames=5)


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline(num_inference_steps=1)


def test_a_plan_counts_what_the_job_will_do_and_writes_nothing(tmp_path, pipeline):
    source, target = make_video(tmp_path / "in.mkv", count=60), tmp_path / "new" / "out.mkv"
    plan = estimate(source, target, CONFIG, lambda: pipeline)
    assert [file.name for file in tmp_path.iterdir()] == ["in.mkv"]
    planned = next(event for event in upscale(source, target, CONFIG, pipeline=pipeline) if isinstance(event, Planned))
    assert (plan.frames, plan.shots, plan.units) == (planned.frames, planned.shots, planned.units)
    assert plan.patches == pipeline.count_patches(9, Size(128, 128), "auxiliary")
    assert plan.seconds > 0 and plan.output_gib > 0
    assert any("1 steps" in line for line in plan.lines())


def test_a_plan_refuses_what_the_job_would(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=3)
    (tmp_path / "out.mkv").write_text("precious")
    with pytest.raises(OutputError, match="already exists"):
        estimate(source, tmp_path / "out.mkv", CONFIG, lambda: pipeline)


def test_a_sum_takes_the_most_memory_and_all_of_the_time(tmp_path, pipeline):
    source = make_video(tmp_path / "in.mkv", count=3)
    small = estimate(source, tmp_path / "a.mkv", CONFIG, lambda: pipeline)
    large = estimate(source, tmp_path / "b.mkv", UpscaleSettings.of(scale=4, chunk_frames=9), lambda: pipeline)
    total = Sum.of([small, large])
    assert total.memory_gib == large.memory_gib > small.memory_gib
    assert total.seconds == pytest.approx(small.seconds + large.seconds)
    assert total.output_gib < total.disk_gib < small.disk_gib + large.disk_gib


def test_time_grows_with_pixels_patches_and_steps(pipeline):
    speed = Calibration(encoded_pixel_s=2e-6, decoded_pixel_s=1e-6, patch_s=0.5, frames=5)
    chunks = [Chunk(0, 5, 0, 0), Chunk(4, 6, 1, 4)]  # the second is padded to 5 frames
    settings = pipeline.resolve(RestoreSettings(num_inference_steps=3))
    expected = 2 * 5 * decoded_pixels(pipeline, Size(128, 96), settings) * 1e-6
    expected += 2 * 5 * encoded_pixels(pipeline, Size(128, 96), settings) * 2e-6
    expected += 2 * 3 * 0.5 * pipeline.count_patches(5, Size(128, 96), settings.joint_mode)
    assert speed.seconds(pipeline, settings, Size(128, 96), chunks) == pytest.approx(expected)


@pytest.mark.parametrize(("branch_blocks", "strength"), [(2, None), (0, 0.5)], ids=["adapter", "plain base"])
def test_a_plan_with_a_wan_base_takes_what_the_work_takes(monkeypatch, branch_blocks, strength):
    """On a clock that only counts pixels and patches; a plain base restores the global view first."""
    autoencoder, passed = toy_wan.autoencoder(), 0.0

    def counted(function, seconds):
        def call(first, *args, **kwargs):
            nonlocal passed
            passed += seconds(first)
            return function(first, *args, **kwargs)

        return call

    transformer = toy.transformer_of(autoencoder, num_branch_blocks=branch_blocks)
    pipeline = PatchVSRPipeline(transformer, autoencoder, patch_px=64, patch_frames=5, strength=strength)
    monkeypatch.setattr(autoencoder, "_encode", counted(autoencoder._encode, lambda video: 2e-3 * video[0, 0].numel()))
    monkeypatch.setattr(autoencoder, "_decode", counted(autoencoder._decode, lambda cells: 0.5 * cells[0, 0].numel()))
    monkeypatch.setattr(transformer, "forward", counted(transformer.forward, lambda patches: 7.0 * len(patches)))
    monkeypatch.setattr(calibrate_module, "time", SimpleNamespace(monotonic=lambda: passed))

    settings = pipeline.resolve(RestoreSettings(num_inference_steps=4, tile_px=64, color_match=False, check=False))
    size, rgb = Size(128, 96), np.zeros((24, 32, 3), np.uint8)
    frame = Frame(rgb, 0, 1, Fraction(1, 24))
    planned = calibrate(pipeline, settings, size, frame, 5).seconds(pipeline, settings, size, [Chunk(0, 5, 0, 0)])
    passed = 0.0
    assert len(list(RestoredClip(pipeline, settings, size, [frame] * 5))) == 5
    assert planned == pytest.approx(passed)


def test_memory_grows_with_size_and_denoised_frames_and_smaller_tiles_take_less(pipeline):
    def gib(size, frames, steps=0, **settings):
        chosen = pipeline.resolve(RestoreSettings(num_inference_steps=steps, **settings))
        return chunk_memory(pipeline, Size(*size), chosen, frames).host_gib

    base = gib((1920, 1080), 9)
    assert gib((1920, 1080), 17) == base  # frames are decoded one by one
    assert gib((1920, 1080), 17, 1) > gib((1920, 1080), 9, 1) > base
    assert gib((3840, 2160), 9) > base
    assert gib((1920, 1080), 9, tile_px=320) < base
    assert np.isfinite(base)


def test_memory_of_a_device_is_that_of_weights_a_patch_and_a_tile():
    autoencoder = toy_wan.autoencoder()
    transformer = toy.transformer_of(autoencoder)
    pipeline = PatchVSRPipeline(transformer, autoencoder, patch_px=64, patch_frames=5, num_inference_steps=4).to("meta")

    def memory(size, **settings):
        return chunk_memory(pipeline, Size(*size), pipeline.resolve(RestoreSettings(**settings)), 5)

    whole, larger = memory((4096, 2048)), memory((8192, 4096))
    assert larger.device_gib == whole.device_gib and larger.host_gib > 2 * whole.host_gib
    offloaded = memory((4096, 2048), cpu_offload=True)
    weights = sum(parameter.nbytes for parameter in transformer.parameters()) / 2**30
    assert whole.device_gib - offloaded.device_gib == pytest.approx(weights)
    assert offloaded.host_gib - whole.host_gib == pytest.approx(weights)
    assert memory((4096, 2048), batch_size=1 << 20).device_gib > whole.device_gib
    features = whole.host_gib - memory((4096, 2048), num_inference_steps=1).host_gib
    assert 0.01 < features <= 2


def test_chunks_are_longer_than_what_they_share_however_little_memory_there_is(pipeline):
    for overlap_frames in (1, 5, 9):
        settings = pipeline.resolve(RestoreSettings(overlap_frames=overlap_frames))
        assert choose_chunk_frames(pipeline, Size(200_000, 100_000), settings) == overlap_frames + 4
