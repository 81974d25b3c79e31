"""Joint denoising against plain sampling of the whole canvas, with models that know only places."""

import gc
import random
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
import toy
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from patchvsr.patches.grid import Box, WeightedBox, padded_length, tiling
from patchvsr.patches.windows import MODES
from patchvsr.sampling.joint import denoise
from patchvsr.sampling.noise import noise_frames

PATCH = (5, 8, 8)
CHANNELS = 3
SIZES = [(5, 8, 8), (5, 16, 24), (6, 18, 22), (12, 8, 34), (7, 30, 10)]

Tilings = Callable[[int], Sequence[WeightedBox]]


def tilings(shape: tuple[int, ...], mode: str) -> Tilings:
    return lambda step: tiling(shape, PATCH, mode, step=step)


def one_patch(shape: tuple[int, ...]) -> Tilings:
    return lambda step: tiling(shape, shape, "independent")


def noise_canvas(shape: tuple[int, ...]) -> Tensor:
    return noise_frames(0, 0, shape[0], (CHANNELS, *shape[1:]))


class PositionModel:
    """A model whose answer at a cell depends on that cell alone, so that patches agree wherever they meet."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.bias = noise_frames(1, 0, shape[0], (CHANNELS, *shape[1:]))
        self.batches: list[int] = []

    def __call__(self, patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        self.batches.append(len(boxes))
        bias = torch.stack([self.bias[box.slices] for box in boxes])
        return (0.5 + timestep / 2000) * patches + bias


class PatchModel:
    """A model that answers every patch with a constant of its own in [-1, 1]: the worst case for seams."""

    def __call__(self, patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        values = [random.Random(repr(box)).uniform(-1, 1) for box in boxes]
        return torch.tensor(values)[:, None, None, None, None].expand_as(patches)


class BlurModel:
    """A model that looks around: patches disagree where they meet, so weights and order matter."""

    def __call__(self, patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        return patches - patches.mean(dim=(2, 3, 4), keepdim=True) + 0.1 * patches.roll(1, dims=-1)


def unipc(steps: int) -> UniPCMultistepScheduler:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("scheduler", [toy.scheduler, unipc])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SIZES)
def test_patches_that_agree_sample_like_the_whole(shape: tuple, mode: str, scheduler: Callable) -> None:
    model, noise = PositionModel(shape), noise_canvas(shape)
    joint = denoise(model, noise, tilings(shape, mode), scheduler(4))
    assert torch.equal(joint, denoise(model, noise, one_patch(shape), scheduler(4)))


@pytest.mark.parametrize("scheduler", [toy.scheduler, unipc])
def test_one_patch_is_plain_sampling(scheduler: Callable) -> None:
    shape = (5, 8, 8)
    model, latents = PositionModel(shape), noise_canvas(shape)
    joint = denoise(model, latents, tilings(shape, "auxiliary"), scheduler(6))
    plain, box = scheduler(6), tiling(shape, shape, "independent")[0].box
    for timestep in plain.timesteps:
        velocity = model(latents[None], float(timestep), [box])
        latents = plain.step(velocity, timestep, latents[None], return_dict=False)[0][0]
    torch.testing.assert_close(joint, latents, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_neither_batches_nor_order_change_a_bit(mode: str) -> None:
    shape = (7, 18, 22)
    noise = noise_canvas(shape)

    def shuffled(step: int) -> Sequence[WeightedBox]:
        return random.Random(step).sample(tiles := tilings(shape, mode)(step), len(tiles))

    expected = denoise(BlurModel(), noise, tilings(shape, mode), toy.scheduler(3))
    for batch_size in (2, 7, 1000):
        assert torch.equal(
            denoise(BlurModel(), noise, tilings(shape, mode), toy.scheduler(3), batch_size=batch_size),
            expected,
        )
    assert torch.equal(denoise(BlurModel(), noise, shuffled, toy.scheduler(3), batch_size=3), expected)
    plain = denoise(BlurModel(), noise, one_patch(shape), toy.scheduler(3))
    assert not torch.allclose(plain, expected, atol=1e-3), "the model must be one whose patches disagree"


def steepest(latents: Tensor) -> float:
    return max(latents.diff(dim=dim).abs().max().item() for dim in (-2, -1))


def test_modulation_leaves_no_seam() -> None:
    shape, patch = (5, 80, 96), (5, 32, 32)
    flat = torch.zeros(1, *shape)

    def jump(mode: str, steps: int) -> float:
        tiles = lambda step: tiling(shape, patch, mode, step=step)  # noqa: E731
        return steepest(denoise(PatchModel(), flat, tiles, toy.scheduler(steps)))

    assert jump("independent", 1) > 1.0 and jump("independent", 16) > 1.0
    # Patches differ by at most 2; a linear ramp over half a segment of 26 cells falls by 2 / 26 per cell.
    assert jump("auxiliary", 1) < 2 * 2 / 26 + 0.01
    # The steepest cell of half a cosine wave over an overlap of 10 cells.
    assert jump("overlap", 1) < 2 * (torch.pi / 2) / 10 + 0.01
    # No overlap at all, but each split line is used by one or two steps out of sixteen.
    assert jump("shifted", 16) < 2 * 2 / 16 + 0.01


def test_known_frames_stay_on_their_path() -> None:
    shape, steps = (9, 16, 8), 4
    noise, known = noise_canvas(shape), torch.full((CHANNELS, 2, 16, 8), 3.0)
    model, seen = PositionModel(shape), []

    def velocity(patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        for patch, box in zip(patches, boxes, strict=True):
            if box.t0 == 0:
                place = noise[:, :2, box.y0 : box.y1, box.x0 : box.x1]
                sigma = timestep / 1000
                torch.testing.assert_close(patch[:, :2], (1 - sigma) * 3.0 + sigma * place)
                seen.append(sigma)
        return model(patches, timestep, boxes)

    before = noise.clone()
    result = denoise(velocity, noise, tilings(shape, "auxiliary"), toy.scheduler(steps), known=known)
    assert set(seen) == {1.0, 0.75, 0.5, 0.25}
    assert torch.equal(result[:, :2], known)
    free = denoise(model, noise, tilings(shape, "auxiliary"), toy.scheduler(steps))
    assert torch.equal(result[:, 2:], free[:, 2:]), "for a model of single cells the other frames do not change"
    assert torch.equal(noise, before)


def test_known_frames_guide_the_others() -> None:
    shape = (5, 8, 8)
    noise, known = noise_canvas(shape), torch.full((CHANNELS, 1, 8, 8), 3.0)
    pinned, free = (
        denoise(BlurModel(), noise, tilings(shape, "auxiliary"), toy.scheduler(4), known=frames)
        for frames in (known, None)
    )
    assert (pinned[:, 1:] - free[:, 1:]).abs().max() > 0.1


@pytest.mark.parametrize("steps", [1, 4])
def test_held_low_frequencies_come_back_whatever_the_model_says(steps: int) -> None:
    shape = (5, 16, 24)
    noise, held = noise_canvas(shape), torch.linspace(-2, 2, 24).expand(CHANNELS, *shape)
    free, holding = (
        denoise(PositionModel(shape), noise, tilings(shape, "auxiliary"), toy.scheduler(steps), held=given)
        for given in (None, held)
    )
    means = [F.avg_pool2d(result - held, 8) for result in (free, holding)]
    assert means[0].abs().mean() > 0.5
    assert means[1].abs().mean() < 0.2 * means[0].abs().mean()
    assert (holding - held).std() > 0.5 * (free - free.mean()).std(), "what a few cells show is the model's"


def test_on_step_sees_every_step_and_may_replace() -> None:
    shape, calls = (5, 16, 8), []

    def on_step(step: int, num_steps: int, latents: Tensor) -> Tensor | None:
        calls.append((step, num_steps, tuple(latents.shape)))
        return torch.zeros_like(latents) if step == 2 else None

    model = PositionModel(shape)
    result = denoise(model, noise_canvas(shape), tilings(shape, "overlap"), toy.scheduler(3), on_step=on_step)
    assert calls == [(step, 3, (CHANNELS, *shape)) for step in range(3)]
    assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_memory_is_the_canvas_and_one_batch(batch_size: int) -> None:
    shape = (5, 30, 40)
    noise, known = noise_canvas(shape), torch.zeros(CHANNELS, 1, 30, 40)
    before = large_storages(noise.nbytes)
    alive: list[weakref.ref] = []
    canvases, sizes = [], []

    def velocity(patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        assert not [ref for ref in alive if ref() is not None], "an earlier batch is still alive"
        predicted = patches * 0.1
        alive.extend([weakref.ref(patches), weakref.ref(predicted)])
        if len(sizes) % 40 == 0:  # walking the heap takes a while
            canvases.append(len(large_storages(noise.nbytes) - before))
        sizes.append(len(patches))
        return predicted

    denoise(velocity, noise, tilings(shape, "auxiliary"), toy.scheduler(3), batch_size=batch_size, known=known)
    assert max(sizes) == batch_size and len(canvases) >= 2
    assert max(canvases) == 2, "the latents and the sums"


def large_storages(nbytes: int) -> set[int]:
    """Addresses of the memory of all tensors of at least `nbytes` that are alive."""
    storages = [item.untyped_storage() for item in gc.get_objects() if type(item) is Tensor]
    return {storage.data_ptr() for storage in storages if storage.nbytes() >= nbytes}


@pytest.mark.parametrize(("height_px", "width_px"), [(1078, 1918), (340, 500), (513, 511)])
def test_odd_sizes_are_padded_and_covered(height_px: int, width_px: int) -> None:
    latent_hw = [-(-pixels // 16) for pixels in (height_px, width_px)]
    shape = (5, *(padded_length(length, 32, 2) for length in latent_hw))
    assert min(shape[1:]) >= 32 and all(a >= b for a, b in zip(shape[1:], latent_hw, strict=True))
    model, noise = PositionModel(shape), noise_canvas(shape)
    expected = denoise(model, noise, one_patch(shape), toy.scheduler(1))
    for mode in MODES:
        joint = denoise(model, noise, lambda step, m=mode: tiling(shape, (5, 32, 32), m), toy.scheduler(1))
        assert torch.equal(joint, expected)


def test_nan_stops_with_the_step_and_the_box() -> None:
    shape = (5, 16, 8)

    def velocity(patches: Tensor, timestep: float, boxes: Sequence[Box]) -> Tensor:
        broken = timestep < 600 and boxes[0].y0 == 8
        return patches * (float("nan") if broken else 1.0)

    with pytest.raises(FloatingPointError, match=r"denoising step 3 of 4.*y0=8"):
        denoise(velocity, noise_canvas(shape), tilings(shape, "auxiliary"), toy.scheduler(4))


@pytest.mark.parametrize(
    ("latents", "options", "message"),
    [
        (torch.zeros(5, 8, 8), {}, "latents must be"),
        (torch.zeros(3, 5, 8, 8, dtype=torch.float64), {}, "float32"),
        (torch.zeros(3, 5, 8, 8), {"batch_size": 0}, "batch size 0"),
        (torch.zeros(3, 5, 8, 8), {"known": torch.zeros(3, 6, 8, 8)}, "does not begin"),
        (torch.zeros(3, 5, 8, 8), {"known": torch.zeros(3, 1, 8, 9)}, "does not begin"),
        (torch.zeros(3, 5, 8, 8), {"known": torch.zeros(3, 1, 8, 8, dtype=torch.float16)}, "does not begin"),
    ],
)
def test_refusals(latents: Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        denoise(PatchModel(), latents, tilings((5, 8, 8), "auxiliary"), toy.scheduler(1), **options)


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="the model returned"):
        denoise(
            lambda patches, timestep, boxes: patches[:, :1],
            noise_canvas((5, 8, 8)),
            tilings((5, 8, 8), "auxiliary"),
            toy.scheduler(1),
        )
