"""The pipeline from frames to frames, with random weights: every tile, patch and step counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from torch import Tensor

from patchvsr.decoding import ClipState
from patchvsr.errors import SettingsError
from patchvsr.models.mini.detail import BandEnergies
from patchvsr.models.restoration import estimate_restoration
from patchvsr.models.transformer import PatchConditions
from patchvsr.patches.windows import MODES
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.pixels.formats import as_frames
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size
from patchvsr.sampling import velocity
from patchvsr.sampling.noise import noise_frames

ONE_LEVEL = 1 / 255
CELLS = (toy.PATCH_CELLS, toy.PATCH_CELLS)


@pytest.fixture(scope="module")
def pipeline() -> PatchVSRPipeline:
    """Shared: a call changes nothing of it."""
    return toy.pipeline()


# --- shapes -------------------------------------------------------------------------------------------------


def test_range_is_cut_and_not_squeezed(pipeline: PatchVSRPipeline) -> None:
    frames = pipeline(toy.video(5, 16, 24)).frames
    assert (frames == 0).any() and (frames == 1).any()


@pytest.mark.parametrize("num_frames", [1, 4, 5, 7])
def test_as_many_frames_as_came(pipeline: PatchVSRPipeline, num_frames: int) -> None:
    output = pipeline(toy.video(num_frames, 8, 12), scale=8)
    assert output.frames.shape == (num_frames, 3, 64, 96)
    assert output.latents.shape == (toy.LATENT_CHANNELS, -(-(num_frames - 1) // 4) + 1, 8, 12)


@pytest.mark.parametrize(
    ("size", "cells"),
    [((119, 67), (10, 16)), ((64, 64), (8, 8)), ((30, 20), (8, 8)), ((1, 100), (14, 8))],
    ids=["odd", "one patch", "less than a patch", "narrow"],
)
def test_any_size(pipeline: PatchVSRPipeline, size: tuple[int, int], cells: tuple[int, int]) -> None:
    output = pipeline(toy.video(2, 17, 29), size=size)
    assert output.frames.shape == (2, 3, size[1], size[0])
    assert output.latents.shape[2:] == cells  # whole tokens of 16 pixels, and at least a patch
    assert output.frames.dtype == torch.float32
    assert output.frames.min() >= 0 and output.frames.max() <= 1


@pytest.mark.parametrize(("scale", "expected"), [(None, (40, 48)), (2, (20, 24)), (2.55, (26, 31)), (0.01, (1, 1))])
def test_scale_is_4_or_what_is_asked(
    pipeline: PatchVSRPipeline, scale: float | None, expected: tuple[int, int]
) -> None:
    frames = pipeline(toy.video(1, 10, 12), scale=scale, num_inference_steps=0).frames
    assert frames.shape[2:] == expected


# --- input and output types ---------------------------------------------------------------------------------


def test_inputs_of_all_types_are_the_same_frames() -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 10, 12, 3), dtype=np.uint8)
    expected = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255
    for video in (expected, expected.double(), array, array / 255, array.astype(np.uint16) * 257):
        torch.testing.assert_close(as_frames(video), expected)
    torch.testing.assert_close(as_frames([Image.fromarray(frame) for frame in array]), expected)


def test_output_types(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(2, 10, 12)
    frames, latents, _, _ = pipeline(video, return_dict=False)
    array = frames.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pipeline(video, output_type="np").frames, array)
    images = pipeline(video, output_type="pil").frames
    assert np.array_equal(np.stack(images), np.round(array * 255).astype(np.uint8))
    output = pipeline(video, output_type="latent")
    assert torch.equal(output.frames, latents) and torch.equal(output.latents, latents)


def test_input_is_left_alone(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(5, 64, 64)
    before = video.clone()
    pipeline(video, scale=1)
    pipeline(video.permute(0, 2, 3, 1).numpy(), scale=1)
    assert torch.equal(video, before)


REFUSED = {
    "scale is 0": dict(scale=0),
    "scale is -2": dict(scale=-2),
    "scale is inf": dict(scale=float("inf")),
    "scale is nan": dict(scale=float("nan")),
    "not both": dict(scale=2, size=(20, 20)),
    "size is 0x20": dict(size=(0, 20)),
    "generator or seed": dict(seed=1, generator=toy.seeded()),
    "num_inference_steps is -1": dict(num_inference_steps=-1),
    "restoration is -0.1": dict(restoration=-0.1),
    "restoration is 1.5": dict(restoration=1.5),
    "noise_timestep is -1": dict(noise_timestep=-1),
    "noise_timestep is 1001": dict(noise_timestep=1001),
    "batch_size is 0": dict(batch_size=0),
    "first_frame is 2: it must be a multiple of 4": dict(first_frame=2),
    "unknown output_type 'mp4'": dict(output_type="mp4"),
    "unknown joint mode": dict(joint_mode="blend"),
    "shape \\(5, 3, 8\\)": dict(video=torch.zeros(5, 3, 8)),
    "shape \\(5, 1, 8, 8\\)": dict(video=torch.zeros(5, 1, 8, 8)),
    "shape \\(0, 3, 8, 8\\)": dict(video=torch.zeros(0, 3, 8, 8)),
    "shape \\(5, 8, 3, 8\\)": dict(video=np.zeros((5, 3, 8, 8))),
    "must lie in": dict(video=torch.full((1, 3, 8, 8), 1.01)),
    "must lie in \\[": dict(video=torch.full((1, 3, 8, 8), -0.01)),
    "must lie in \\[0": dict(video=torch.full((1, 3, 8, 8), torch.nan)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuses_settings_out_of_range(pipeline: PatchVSRPipeline, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        pipeline(**(dict(video=toy.video(1, 8, 8)) | REFUSED[message]))


# --- the same input gives the same bytes --------------------------------------------------------------------


@pytest.mark.parametrize("joint_mode", MODES)
def test_same_bytes_for_the_same_seed(pipeline: PatchVSRPipeline, joint_mode: str) -> None:
    video = toy.video(9, 20, 28)
    settings: dict[str, Any] = dict(joint_mode=joint_mode, noise_timestep=200)
    first = pipeline(video, seed=3, **settings).frames
    assert torch.equal(pipeline(video, seed=3, **settings).frames, first)
    assert not torch.allclose(pipeline(video, seed=4, **settings).frames, first, atol=ONE_LEVEL)


def test_generator_is_a_seed_too(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(1, 16, 16)
    first, again, other = (pipeline(video, generator=toy.seeded(seed)).frames for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_every_joint_mode_has_a_result_of_its_own(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(5, 20, 28)
    outputs = [pipeline(video, joint_mode=mode).frames for mode in MODES]
    assert len(outputs) == 4
    for i, output in enumerate(outputs):
        assert all((output - other).abs().max() > ONE_LEVEL for other in outputs[:i])
    assert torch.equal(pipeline(video).frames, outputs[MODES.index("auxiliary")])


@pytest.mark.parametrize("batch_size", [2, 5])
def test_batch_size_does_not_matter(pipeline: PatchVSRPipeline, batch_size: int) -> None:
    video = toy.video(9, 24, 24)
    single, batched = (pipeline(video, batch_size=size).frames for size in (1, batch_size))
    assert torch.equal(batched, single)


@pytest.mark.parametrize("tile_px", [16, 48])
def test_tile_size_does_not_matter(pipeline: PatchVSRPipeline, tile_px: int) -> None:
    video = toy.video(5, 24, 40)
    whole, tiled = (pipeline(video, tile_px=size, num_inference_steps=1).frames for size in (1280, tile_px))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


# --- denoising ----------------------------------------------------------------------------------------------


def test_no_steps_decode_without_latents(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(5, 16, 24)
    output = pipeline(video, num_inference_steps=0, restoration=0.3, color_match=False)
    canvas = (resize_bicubic(video, Size(96, 64)) * 2 - 1).transpose(0, 1).unsqueeze(0)
    with torch.no_grad():
        decoded = pipeline.vae.decode(None, canvas, **toy.KNOWN_OF_CLIPS)[0]
    torch.testing.assert_close(output.frames, ((decoded.transpose(0, 1) + 1) / 2).clamp(0, 1))
    assert output.latents is None


@torch.no_grad()
def plain_sampling(pipeline: PatchVSRPipeline, video: Tensor, steps: int, noise_timestep: float) -> Tensor:
    """One patch by hand: Euler steps of a rectified flow, no tiles, no canvas, no scheduler."""
    canvas = (resize_bicubic(video, Size(toy.PATCH_PX, toy.PATCH_PX)) * 2 - 1).transpose(0, 1).unsqueeze(0)
    condition = pipeline.vae.encode_condition(canvas)
    sigma = noise_timestep / 1000
    augmentation = noise_frames((1 << 32) + 5, 0, 2, (toy.CONDITION_CHANNELS, *CELLS)).unsqueeze(0)
    features = pipeline.transformer.encode_conditions(
        PatchConditions(
            patch_latents=(1 - sigma) * condition + sigma * augmentation,
            global_latents=condition,  # the view of a clip of one patch is the patch
            location_mask=torch.ones(1, 1, *CELLS),
            scale=torch.tensor([4.0]),
            crop_box=torch.tensor([[0.0, 0.0, 1.0, 1.0]]),
            noise_timestep=torch.tensor([noise_timestep]),
        )
    )
    z = noise_frames(5, 0, 2, (toy.LATENT_CHANNELS, *CELLS)).unsqueeze(0)
    if pipeline.config.still_noise:
        z = z[:, :, :1].repeat(1, 1, 2, 1, 1)
    for step in range(steps):
        time = torch.tensor([1000 * (1 - step / steps)])
        z = z - pipeline.transformer(z, time, features=features).sample / steps
    decoded = pipeline.vae.decode(z, canvas, **toy.KNOWN_OF_CLIPS)[0]
    return ((decoded.transpose(0, 1) + 1) / 2).clamp(0, 1)


@pytest.mark.parametrize("joint_mode", MODES)
@pytest.mark.parametrize(("steps", "noise_timestep"), [(1, 0.0), (4, 250.0)])
def test_one_patch_equals_plain_sampling(
    pipeline: PatchVSRPipeline, steps: int, noise_timestep: float, joint_mode: str
) -> None:
    video = toy.video(5, 16, 16)
    frames = pipeline(
        video,
        seed=5,
        num_inference_steps=steps,
        restoration=0.3,
        noise_timestep=noise_timestep,
        joint_mode=joint_mode,
        color_match=False,
    ).frames
    expected = plain_sampling(pipeline, video, steps, noise_timestep)
    torch.testing.assert_close(frames, expected, rtol=0, atol=2e-5)


def test_a_model_of_still_noise_starts_every_frame_from_the_same(pipeline: PatchVSRPipeline) -> None:
    of_still = PatchVSRPipeline(**pipeline.components, patch_px=toy.PATCH_PX, patch_frames=5, still_noise=True)
    video, told = toy.video(5, 16, 16), {"seed": 5, "num_inference_steps": 2, "restoration": 0.3, "color_match": False}
    frames = of_still(video, **told).frames
    torch.testing.assert_close(frames, plain_sampling(of_still, video, 2, 0.0), rtol=0, atol=2e-5)
    assert not torch.allclose(frames, pipeline(video, **told).frames, atol=1e-3)


def test_known_latents_stay_and_lead_the_frames_after_them(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(9, 16, 16)
    free = pipeline(video, first_frame=8, output_type="latent").latents
    known = toy.randn(toy.LATENT_CHANNELS, 1, *CELLS)
    previous = ClipState(known, None)
    # Patches of two latent frames: the second is denoised beside the first, the third beside the second.
    led = pipeline(video, first_frame=8, output_type="latent", previous=previous).latents
    assert torch.equal(led[:, :1], known)
    assert not torch.allclose(led[:, 1], free[:, 1], atol=1e-3)


@pytest.mark.parametrize("overlap_frames", [1, 5])
@pytest.mark.parametrize("tile_px", [1280, 32])
def test_a_clip_goes_on_where_the_previous_one_ended(
    pipeline: PatchVSRPipeline, overlap_frames: int, tile_px: int
) -> None:
    video = toy.video(20, 24, 40)
    settings = dict(num_inference_steps=0, tile_px=tile_px, restoration=0.4)
    whole = pipeline(video, **settings).frames
    parts, state, start = [], None, 0
    while start + overlap_frames < len(video):
        part = video[start : start + 9]
        output = pipeline(part, first_frame=start, previous=state, overlap_frames=overlap_frames, **settings)
        parts.append(output.frames)
        state, start = output.state, start + 9 - overlap_frames
    assert torch.equal(torch.cat(parts), whole)


def test_noise_belongs_to_the_place_in_the_video(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(5, 16, 16)
    start, later = (pipeline(video, first_frame=frame).frames for frame in (0, 8))
    assert not torch.allclose(start, later, atol=ONE_LEVEL)


def test_strength_and_augmentation_are_passed_on(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(5, 16, 16)
    default = pipeline(video).frames
    assert torch.equal(pipeline(video, branch_scale=1.0, noise_timestep=0).frames, default)
    for changed in (dict(branch_scale=0.0), dict(noise_timestep=200)):
        assert (pipeline(video, **changed).frames - default).abs().max() > ONE_LEVEL


def test_detail_leads_from_the_restored_frame_to_the_generated_one(pipeline: PatchVSRPipeline) -> None:
    """The dial is a straight line in pixels, whose ends are those of 0 steps and of the model's own setting."""
    video, settings = toy.video(5, 24, 32), dict(color_match=False)
    faithful, rich = pipeline(video, num_inference_steps=0, **settings).frames, pipeline(video, **settings).frames
    ends = (pipeline(video, detail=detail, **settings).frames for detail in (0, 1))
    assert all(torch.equal(end, known) for end, known in zip(ends, (faithful, rich), strict=True))
    assert (rich - faithful).std() > 0.01
    inside = (rich > 0) & (rich < 1) & (faithful > 0) & (faithful < 1)
    between = pipeline(video, detail=0.25, **settings).frames
    torch.testing.assert_close(between[inside], (0.75 * faithful + 0.25 * rich)[inside], rtol=0, atol=1e-6)


def test_strength_starts_from_the_latents_of_the_input(pipeline: PatchVSRPipeline) -> None:
    video = toy.video(5, 16, 16)
    from_noise = pipeline(video, output_type="latent").latents
    assert torch.equal(pipeline(video, strength=1.0, output_type="latent").latents, from_noise)
    own = BandEnergies.latents(torch.zeros(1, *from_noise.shape))[0]  # no detail
    little = pipeline(video, strength=1e-4, output_type="latent").latents
    torch.testing.assert_close(little, own, rtol=0, atol=1e-3)
    assert (pipeline(video, strength=0.3, output_type="latent").latents - own).abs().max() > 0.01


def test_features_are_kept_up_to_a_limit_which_changes_nothing(
    pipeline: PatchVSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, encode = [], pipeline.transformer.encode_conditions
    monkeypatch.setattr(pipeline.transformer, "encode_conditions", lambda given: computed.append(1) or encode(given))
    results, counts = [], []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(velocity, "KEPT_BYTES", limit)
        results.append(pipeline(toy.video(5, 24, 40), num_inference_steps=3, output_type="latent").latents)
        counts.append(len(computed))
        computed.clear()
    assert torch.equal(*results)
    assert counts[1] == 3 * counts[0] > 3


def test_restoration_is_estimated_once_from_the_whole_picture(pipeline: PatchVSRPipeline) -> None:
    video, one_step = toy.video(5, 40, 60), dict(num_inference_steps=1)
    estimated = pipeline(video, **one_step)
    canvas = (resize_bicubic(video, Size(240, 160)) * 2 - 1).unbind(0)
    assert estimated.restoration == estimate_restoration(pipeline.vae, [canvas], Size(240, 160), 4.0)
    for other in (dict(tile_px=64), dict(restoration=estimated.restoration)):
        torch.testing.assert_close(pipeline(video, **one_step, **other).frames, estimated.frames, rtol=0, atol=1e-5)
    part = pipeline(video, area=(16, 64, 32, 96), **one_step)
    assert part.restoration == estimated.restoration
    most, least = (pipeline(video, restoration=value, **one_step).frames for value in (1.0, 0.0))
    assert (most - least).abs().max() > ONE_LEVEL


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 200)])
def test_restoration_of_the_smallest_pictures_is_estimated(pipeline: PatchVSRPipeline, size: tuple[int, int]) -> None:
    for frames in (1, 2):
        restoration = pipeline(toy.video(frames, *size), scale=2).restoration
        assert restoration is not None and 0 <= restoration <= 1


def test_callback_sees_every_step_and_may_replace_latents(pipeline: PatchVSRPipeline) -> None:
    video, calls = toy.video(5, 16, 16), []

    def watch(pipe: PatchVSRPipeline, step: int, timestep: Tensor, state: dict[str, Tensor]) -> None:
        calls.append((pipe, step, float(timestep), list(state), state["latents"].shape))

    watched = pipeline(video, num_inference_steps=4, callback_on_step_end=watch)
    shape = (toy.LATENT_CHANNELS, 2, *CELLS)
    assert calls == [(pipeline, step, 1000 - 250 * step, ["latents"], shape) for step in range(4)]
    assert torch.equal(watched.frames, pipeline(video, num_inference_steps=4).frames)

    def replace(pipe: PatchVSRPipeline, step: int, timestep: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": torch.ones_like(state["latents"])}

    assert (pipeline(video, callback_on_step_end=replace).latents == 1).all()


def test_conditions_are_encoded_once_per_patch(pipeline: PatchVSRPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, boxes = pipeline.transformer.encode_conditions, Counter[tuple[float, ...]]()

    def counted(conditions: PatchConditions) -> Any:
        boxes.update(tuple(box) for box in conditions.crop_box.tolist())
        return encode(conditions)

    monkeypatch.setattr(pipeline.transformer, "encode_conditions", counted)
    pipeline(toy.video(5, 32, 32), num_inference_steps=3, batch_size=2)
    places = ((0, 0.5), (0.25, 0.75), (0.5, 1))  # two patches a side and one across their border
    assert boxes == {(y0, x0, y1, x1): 1 for y0, y1 in places for x0, x1 in places}


def test_nan_is_named_and_not_written() -> None:
    broken = toy.pipeline()
    with torch.no_grad():
        broken.vae.decoder.head.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="decoding"):
        broken(toy.video(1, 16, 16))
    with torch.no_grad():
        broken.transformer.proj_out.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="denoising step 1 of 2"):
        broken(toy.video(1, 16, 16))


@pytest.mark.parametrize("output_type", ["pt", "latent"])
def test_offloaded_models_are_freed_whatever_is_returned(
    pipeline: PatchVSRPipeline, output_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = []
    monkeypatch.setattr(pipeline, "maybe_free_model_hooks", lambda: freed.append(True))
    pipeline(toy.video(1, 16, 24), num_inference_steps=1, output_type=output_type)
    assert freed == [True]
