"""Low-quality files: the right kernel, exact storage, nothing cut off in silence."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import read_timed
from torch import Tensor

from patchvsr.degradation.degrade import REALBASICVSR
from patchvsr.degradation.lq_file import bicubic_enlarge, bicubic_reduce, pixel_digest, write_lq
from patchvsr.errors import InputError, OutputError
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import read_rgb
from patchvsr.pixels.size import Size

TIMES = [Fraction(0), Fraction(1, 25), Fraction(3, 25)]  # the second frame stays twice as long


@pytest.fixture
def clip() -> Tensor:
    """Noise on 8-bit levels, the hardest content to store, (3, 3, 50, 62)."""
    torch.manual_seed(0)
    return torch.randint(0, 256, (3, 3, 50, 62)).float() / 255


@pytest.fixture
def hq_path(clip: Tensor, tmp_path: Path) -> Path:
    path = tmp_path / "hq.mkv"
    with LosslessWriter(path) as writer:
        for frame, time_s in zip(clip, TIMES, strict=True):
            writer.write(frame, time_s)
    return path


def test_storage_is_exact(clip: Tensor, hq_path: Path):
    frames, times = zip(*read_timed(hq_path), strict=True)
    assert torch.equal(torch.stack(frames), clip)
    assert list(times) == TIMES


def test_kernel_is_the_one_of_the_field():
    """Pillow has the a = -0.5 bicubic kernel with antialiasing, computed in 8-bit fixed point."""
    image = pytest.importorskip("PIL.Image")
    torch.manual_seed(0)
    frame = torch.randint(64, 192, (1, 3, 48, 64)).float() / 255  # far from where Pillow clips in between
    picture = image.fromarray((frame[0] * 255).byte().permute(1, 2, 0).numpy())
    for ours, size in ((bicubic_reduce(frame, 4), (16, 12)), (bicubic_enlarge(frame, 2), (128, 96))):
        theirs = np.asarray(picture.resize(size, image.Resampling.BICUBIC), dtype=np.float32)
        difference = (ours[0] * 255).permute(1, 2, 0).numpy() - theirs
        assert np.abs(difference).max() <= 1


def test_reduction_is_on_8_bit_levels(clip: Tensor):
    levels = bicubic_reduce(clip[..., :48, :60], 4) * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_reduction_refuses_a_size_that_does_not_divide(clip: Tensor):
    with pytest.raises(InputError, match="62x50"):
        bicubic_reduce(clip, 4)


def test_write_lq_records_the_cut(clip: Tensor, hq_path: Path, tmp_path: Path):
    lq_path = tmp_path / "lq.mkv"
    record = write_lq(hq_path, lq_path, 4)
    assert record.source_size == Size(62, 50) and record.hq_size == Size(60, 48) and record.cropped
    assert record.frames == 3 and record.sha256 == pixel_digest(lq_path)
    frames, times = zip(*read_timed(lq_path), strict=True)
    assert torch.equal(torch.stack(frames), bicubic_reduce(clip[..., :48, :60], 4))
    assert list(times) == TIMES


def test_write_lq_can_stop_early_and_never_overwrites(hq_path: Path, tmp_path: Path):
    lq_path = tmp_path / "lq.mkv"
    assert write_lq(hq_path, lq_path, 2, max_frames=2).frames == 2
    assert len(list(read_rgb(lq_path))) == 2
    with pytest.raises(OutputError, match="exists"):
        write_lq(hq_path, lq_path, 2)


def test_write_lq_degrades_by_name_and_seed(clip: Tensor, hq_path: Path, tmp_path: Path):
    """The same clip elsewhere gets the same damage; another name or seed another one."""
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "hq.mkv"
    renamed = tmp_path / "other.mkv"
    for path in (copy, renamed):
        path.write_bytes(hq_path.read_bytes())
    sources = {"first": (hq_path, 0), "copy": (copy, 0), "renamed": (renamed, 0), "seed": (hq_path, 1)}
    records = {
        name: write_lq(path, tmp_path / f"lq_{name}.mkv", 4, settings=REALBASICVSR, seed=seed)
        for name, (path, seed) in sources.items()
    }
    assert records["first"] == records["copy"]
    assert len({record.sha256 for record in records.values()}) == 3
    frames, times = zip(*read_timed(tmp_path / "lq_first.mkv"), strict=True)
    assert torch.stack(frames).shape == (3, 3, 12, 15) and list(times) == TIMES
    assert not torch.equal(torch.stack(frames), bicubic_reduce(clip[..., :48, :60], 4))


def test_write_lq_refuses_what_is_smaller_than_the_scale(hq_path: Path, tmp_path: Path):
    with pytest.raises(InputError, match="62x50 is too small to be reduced by 51"):
        write_lq(hq_path, tmp_path / "lq.mkv", 51)


def test_unreadable_files_are_named(tmp_path: Path):
    text = tmp_path / "no video.mp4"
    text.write_text("hello")
    for path in (text, tmp_path / "missing.mp4"):
        with pytest.raises(InputError, match=path.name):
            next(read_rgb(path))
