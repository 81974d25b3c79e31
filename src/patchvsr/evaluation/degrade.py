"""Low-quality inputs for a comparison: fixed once, stored without loss, known by the hash of their pixels."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from patchvsr.errors import InputError, OutputError
from patchvsr.evaluation.lossless import LosslessWriter, read_frames, to_array
from patchvsr.sampling.conditions import resize_bicubic


@dataclass(frozen=True)
class LqFile:
    """What a low-quality file was made from. Sizes are (height, width) in pixels.

    `hq_size` is the part of the original it shows, counted from the top left corner: the largest multiple of
    the scale. Where it is smaller than `source_size`, compare with the original cut to it.
    """

    source_size: tuple[int, int]
    hq_size: tuple[int, int]
    scale: int
    frames: int
    sha256: str

    @property
    def cropped(self) -> bool:
        """Whether rows or columns of the original had to be left out."""
        return self.hq_size != self.source_size


def bicubic_reduce(frames: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic reduction (kernel a = -0.5, as MATLAB's imresize), rounded to 8 bits.

    Args:
        frames: (F, 3, H, W) in [0, 1], H and W multiples of `scale`.

    Returns:
        (F, 3, H / scale, W / scale) in [0, 1], multiples of 1/255.

    Raises:
        InputError: H or W is not a multiple of `scale`.
    """
    height, width = frames.shape[-2:]
    if height % scale or width % scale:
        raise InputError(f"{width}x{height} cannot be reduced by {scale}; cut it to a multiple first")
    return _resize(frames, (height // scale, width // scale))


def bicubic_enlarge(frames: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement with the kernel of `bicubic_reduce`, rounded to 8 bits: the usual baseline.

    Args:
        frames: (F, 3, h, w) in [0, 1].
    """
    height, width = frames.shape[-2:]
    return _resize(frames, (height * scale, width * scale))


def _resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    return resize_bicubic(frames, size).mul(255).round() / 255


def write_lq(hq_path: Path, lq_path: Path, scale: int, *, max_frames: int | None = None) -> LqFile:
    """Write the bicubic reduction of a video as a lossless FFV1 file, with the original's time stamps.

    The file is read back and compared with what was meant to be in it.

    Raises:
        InputError: the original cannot be read or has no frames.
        OutputError: the file exists, cannot be written, or does not hold what was written.
    """
    digest, count = hashlib.sha256(), 0
    source_size = hq_size = (0, 0)
    with LosslessWriter(lq_path) as writer:
        for frame, time_s in read_frames(hq_path, max_frames=max_frames):
            height, width = frame.shape[-2:]
            source_size, hq_size = (height, width), (height - height % scale, width - width % scale)
            reduced = bicubic_reduce(cut(frame, hq_size)[None], scale)[0]
            writer.write(reduced, time_s)
            digest.update(to_array(reduced).tobytes())
            count += 1
    if count == 0:
        raise InputError(f"{hq_path} has no frames")
    if pixel_digest(lq_path) != digest.hexdigest():
        raise OutputError(f"{lq_path} does not read back as it was written")
    return LqFile(source_size, hq_size, scale, count, digest.hexdigest())


def cut(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """The top left part, `size` = (height, width), of frames (..., H, W)."""
    return frames[..., : size[0], : size[1]]


def pixel_digest(path: Path) -> str:
    """SHA-256 over the 8-bit RGB bytes of all frames: the same for every lossless container of one clip."""
    digest = hashlib.sha256()
    for frame, _ in read_frames(path):
        digest.update(to_array(frame).tobytes())
    return digest.hexdigest()
