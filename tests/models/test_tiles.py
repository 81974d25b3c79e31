"""How a canvas is cut into tiles; that tiles equal the whole is tested with each autoencoder."""

import pytest
import torch

from patchvsr.models.tiles import tiles


@pytest.mark.parametrize(
    ("tile_px", "height", "width"), [(16, 208, 240), (48, 208, 240), (128, 304, 208), (1280, 208, 240)]
)
def test_tiles_cover_the_canvas_once_and_stay_within_their_size(tile_px: int, height: int, width: int) -> None:
    covered = torch.zeros(height, width)
    for tile in tiles(height, width, tile_px + 8, 32, 16):  # eight pixels are no cell
        y0, y1, x0, x1 = tile.inner
        assert y1 - y0 <= tile_px and x1 - x0 <= tile_px
        assert tile.outer == (max(0, y0 - 32), min(height, y1 + 32), max(0, x0 - 32), min(width, x1 + 32))
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()
