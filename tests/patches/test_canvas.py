"""The canvas: any order, the same bits; and what a patch is told about its place."""

import random

import pytest
import torch

from patchvsr.patches.canvas import Canvas, crop_box_condition, location_mask
from patchvsr.patches.grid import Box, tiling

SHAPE = (3, 6, 18, 22)
PATCH = (5, 8, 8)


def filled(order: list[int], values: torch.Tensor) -> Canvas:
    tiles = tiling(SHAPE[1:], PATCH, "auxiliary")
    canvas = Canvas(SHAPE)
    for i in order:
        canvas.add(tiles[i].box, tiles[i].weight(), values[i])
    return canvas


@pytest.fixture(scope="module")
def values() -> torch.Tensor:
    count = len(tiling(SHAPE[1:], PATCH, "auxiliary"))
    return torch.randn(count, SHAPE[0], *PATCH, generator=torch.Generator().manual_seed(0))


def test_order_does_not_matter_to_the_last_bit(values: torch.Tensor) -> None:
    order = list(range(len(values)))
    expected = filled(order, values).result()
    for seed in range(5):
        random.Random(seed).shuffle(order)
        assert torch.equal(filled(order, values).result(), expected)


def test_ranks_merge_by_adding_states(values: torch.Tensor) -> None:
    order = list(range(len(values)))
    parts = [filled(order[rank::3], values) for rank in range(3)]
    parts[0].state += parts[1].state + parts[2].state
    assert torch.equal(parts[0].result(), filled(order, values).result())


def test_result_is_the_weighted_mean(values: torch.Tensor) -> None:
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    for tile, patch in zip(tiling(SHAPE[1:], PATCH, "auxiliary"), values, strict=True):
        expected[tile.box.slices] += tile.weight().double() * patch.double()
    result = filled(list(range(len(values))), values).result()
    torch.testing.assert_close(result.double(), expected, rtol=1e-7, atol=4e-9)


def test_patches_that_agree_pass_unchanged() -> None:
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) + 8  # bits below 2^-28 do not count
    canvas = Canvas(SHAPE)
    for tile in tiling(SHAPE[1:], PATCH, "overlap"):
        canvas.add(tile.box, tile.weight(), image[tile.box.slices])
    assert torch.equal(canvas.result(), image)


def test_half_precision_is_taken_at_face_value() -> None:
    patch = torch.full((1, 2, 2, 2), 0.3, dtype=torch.bfloat16)
    canvas = Canvas((1, 2, 2, 2))
    canvas.add(Box(0, 2, 0, 2, 0, 2), torch.ones(2, 2, 2), patch)
    assert torch.equal(canvas.result(), patch.float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e5])
def test_bad_values_stop_with_box_and_stage(bad: float) -> None:
    patch = torch.zeros(1, 2, 2, 2)
    patch[0, 1, 0, 1] = bad
    with pytest.raises(FloatingPointError, match=r"step 2 of 4.*Box\(t0=0, t1=2, y0=0, y1=2, x0=2, x1=4\)"):
        Canvas((1, 2, 2, 4), stage="step 2 of 4").add(Box(0, 2, 0, 2, 2, 4), torch.ones(2, 2, 2), patch)


def test_extremes_do_not_overflow() -> None:
    edge = torch.full((1, 1, 1, 2), 2047.9998)
    edge[..., 1] *= -1
    canvas = Canvas((1, 1, 1, 2))
    canvas.add(Box(0, 1, 0, 1, 0, 2), torch.ones(1, 1, 2), edge)
    assert torch.equal(canvas.result(), edge)


def test_missing_and_doubled_patches_are_noticed(values: torch.Tensor) -> None:
    order = list(range(len(values)))
    for wrong in (order[1:], [*order, 0]):
        with pytest.raises(RuntimeError, match="missing or was added twice"):
            filled(wrong, values).result()


@pytest.mark.parametrize(
    ("box", "values", "weight"),
    [
        (Box(0, 2, 0, 2, 0, 2), (1, 1, 2, 2), (2, 2, 2)),
        (Box(0, 2, 0, 2, 0, 2), (1, 2, 2, 2), (1, 2, 2)),
        (Box(0, 2, 0, 2, 3, 5), (1, 2, 2, 2), (2, 2, 2)),  # leaves the canvas
    ],
)
def test_shapes_that_do_not_fit(box: Box, values: tuple, weight: tuple) -> None:
    with pytest.raises(ValueError, match="takes values"):
        Canvas((1, 2, 2, 4)).add(box, torch.ones(weight), torch.zeros(values))


def test_location_mask_marks_the_cells_whose_centre_is_inside() -> None:
    mask = location_mask(Box(0, 5, 0, 32, 32, 64), canvas_hw=(64, 128), grid_hw=(4, 8))
    assert mask.shape == (1, 4, 8) and mask.dtype == torch.float32
    expected = torch.zeros(1, 4, 8)
    expected[:, :2, 2:4] = 1
    assert torch.equal(mask, expected)


def test_location_masks_of_a_grid_part_the_view() -> None:
    boxes = [tile.box for tile in tiling((5, 64, 96), (5, 32, 32), "independent")]
    total = sum(location_mask(box, (64, 96), (32, 32)) for box in boxes)
    assert (torch.as_tensor(total) == 1).all()


def test_the_smallest_patch_keeps_a_place() -> None:
    for x0 in range(0, 993, 31):
        mask = location_mask(Box(0, 1, 0, 2, x0, x0 + 2), canvas_hw=(1000, 995), grid_hw=(4, 4))
        assert mask.sum() == 1 and mask[0, 0, min((x0 + 1) * 4 // 995, 3)] == 1
    # A padded canvas may reach beyond what the global view shows: the mask stays on the view's edge.
    assert location_mask(Box(0, 1, 0, 2, 40, 42), canvas_hw=(2, 39), grid_hw=(1, 3)).tolist() == [[[0, 0, 1]]]


def test_crop_box_condition() -> None:
    assert crop_box_condition(Box(0, 5, 16, 48, 32, 64), (5, 64, 128)) == (0.25, 0.25, 0.75, 0.5)
    assert crop_box_condition(Box(0, 5, 0, 64, 0, 128), (64, 128)) == (0, 0, 1, 1)
    with pytest.raises(ValueError, match="not inside"):
        crop_box_condition(Box(0, 5, 40, 72, 0, 32), (64, 128))
