"""Clips of one shot with Wan's autoencoder, whose latents of a first frame differ from those of four frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
import toy
import toy_wan
from clips import picture
from jobfiles import digest, make_shots, run
from test_resume import one_unit_at_a_time
from torch import Tensor

from patchvsr.errors import SettingsError
from patchvsr.jobs.clip import RestoredClip
from patchvsr.media import Frame
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.size import Size
from patchvsr.settings import RestoreSettings

HEIGHT, WIDTH = 16, 20


@pytest.fixture(scope="module", params=["wan2.1", "wan2.2", "light"])
def pipeline(request: pytest.FixtureRequest) -> PatchVSRPipeline:
    light = request.param == "light"
    autoencoder = toy_wan.light_autoencoder(std=0.02) if light else toy_wan.autoencoder(request.param)
    transformer = toy.transformer_of(autoencoder)
    return PatchVSRPipeline(transformer, autoencoder, patch_px=64, patch_frames=9, num_inference_steps=1)


@pytest.mark.parametrize("overlap", [1, 5])
def test_a_clip_begins_with_the_restored_frames_of_the_last_one(pipeline: PatchVSRPipeline, overlap: int) -> None:
    """Its first latents are what the autoencoder makes of them as the beginning of a clip."""
    video, known = toy.video(18 - overlap, HEIGHT, WIDTH), overlap // 4 + 1
    first = pipeline(video[:9], overlap_frames=overlap)
    shared = first.frames[-overlap:].transpose(0, 1)[None] * 2 - 1
    padded = torch.nn.functional.pad(shared[0], (0, pipeline.padded_size((80, 64)).width - 80, 0, 0), mode="replicate")[
        None
    ]
    encoded = pipeline.vae.encode(padded).detach()
    torch.testing.assert_close(first.state.latents, encoded[0], rtol=0, atol=1e-4)
    assert first.state.latents.shape[1] == known
    assert (first.state.latents - first.latents[:, -known:]).abs().max() > 0.01  # those of four frames are others
    second = pipeline(video[9 - overlap :], previous=first.state, overlap_frames=overlap, first_frame=8)
    assert torch.equal(second.latents[:, :known], first.state.latents)
    assert len(second.frames) == 9 - overlap


def test_what_a_clip_hands_over_keeps_no_activations(pipeline: PatchVSRPipeline) -> None:
    """Jobs ask for it after the last frame, outside of what computes without gradients."""
    frames = [Frame(picture(index, WIDTH, HEIGHT), index, 1, Fraction(1, 25)) for index in range(5)]
    clip = RestoredClip(pipeline, pipeline.resolve(RestoreSettings(check=False)), Size(80, 64), frames)
    assert len(list(clip)) == 5
    assert not clip.state.latents.requires_grad


def test_only_a_chunk_that_another_goes_on_from_is_encoded_again(
    pipeline: PatchVSRPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, encode = [], pipeline.vae.encode_condition_next

    def counted(canvas: Tensor, state: None) -> tuple[Tensor, None]:
        encoded.append(canvas.shape[2])
        return encode(canvas, state)

    monkeypatch.setattr(pipeline.vae, "encode_condition_next", counted)
    source = make_shots(tmp_path / "in.mkv", (9,), size=(32, 32), audio=False)
    run(source, tmp_path / "out.mkv", pipeline, check=False)
    canvas_and_view = [5, 5]
    assert encoded == [*canvas_and_view, 1, *canvas_and_view]


def test_a_longer_clip_is_refused(pipeline: PatchVSRPipeline) -> None:
    with pytest.raises(SettingsError, match=r"has 10 frames: this model denoises at most 9 at once; cut it, and go on"):
        pipeline(toy.video(10, HEIGHT, WIDTH))
    assert len(pipeline(toy.video(10, HEIGHT, WIDTH), num_inference_steps=0).frames) == 10


def test_jobs_cut_chunks_that_the_base_knows(pipeline: PatchVSRPipeline, tmp_path) -> None:
    source, settings = make_shots(tmp_path / "in.mkv", (21,), audio=False), dict(chunk_frames=None, check=False)
    run(source, tmp_path / "whole.mkv", pipeline, **settings)
    assert one_unit_at_a_time(source, tmp_path / "stopped.mkv", pipeline, **settings) > 1
    assert digest(tmp_path / "stopped.mkv") == digest(tmp_path / "whole.mkv")
    with pytest.raises(SettingsError, match="chunks of 13 frames are too long: this model denoises at most 9 at once"):
        run(source, tmp_path / "other.mkv", pipeline, chunk_frames=13)
    assert not (tmp_path / "other.mkv.job").exists()
