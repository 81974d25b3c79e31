"""Write fixed low-quality inputs for comparisons, losslessly and identified by the hash of their pixels."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Generator, Tensor

from patchvsr.degradation.degrade import BICUBIC, Degradation, degrade
from patchvsr.errors import InputError, OutputError
from patchvsr.media import Frame, open_reader
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import read_rgb, to_array
from patchvsr.pixels.formats import as_frames
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class LqFile:
    """The provenance of a low-quality file.

    source_size: size of the original.
    hq_size: the part of the original that the file shows, from the top left corner: the largest multiple of the scale.
        If it is smaller than `source_size`, crop the original to it before comparing.
    sha256: see `pixel_digest`.
    """

    source_size: Size
    hq_size: Size
    scale: int
    frames: int
    sha256: str

    @property
    def cropped(self) -> bool:
        """Whether rows or columns of the original were left out."""
        return self.hq_size != self.source_size


def bicubic_reduce(frames: Tensor, scale: int) -> Tensor:
    """Downscale with antialiased bicubic (a = -0.5, like MATLAB's imresize), rounded to 8 bits.

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
    return _resize(frames, Size(width // scale, height // scale))


def bicubic_enlarge(frames: Tensor, scale: int) -> Tensor:
    """Upscale with the kernel of `bicubic_reduce`, rounded to 8 bits: the usual baseline.

    Args:
        frames: (F, 3, h, w) in [0, 1].
    """
    height, width = frames.shape[-2:]
    return _resize(frames, Size(width * scale, height * scale))


def _resize(frames: Tensor, size: Size) -> Tensor:
    return resize_bicubic(frames, size).mul(255).round() / 255


def write_lq(
    hq_path: Path,
    lq_path: Path,
    scale: int,
    *,
    max_frames: int | None = None,
    settings: Degradation = BICUBIC,
    seed: int = 0,
    name: str | None = None,
) -> LqFile:
    """Write a degraded clip as a lossless FFV1 file with the timestamps of the original.

    The result depends on the clip's pixels and `name` (the file name, if not given), `settings` and `seed`, not on
    other clips. Bicubic downscaling runs frame by frame. Any other degradation holds the whole clip in memory, as
    decoded and during processing as float32. The file is read back and its pixels are compared with those written.

    Raises:
        InputError: the original cannot be read, has no frames or is smaller than `scale`.
        OutputError: the file exists, cannot be written, or does not read back as written.
    """
    digest, count = hashlib.sha256(), 0
    with open_reader(hq_path) as reader, LosslessWriter(lq_path) as writer:
        source_size = Size(reader.info.width, reader.info.height)
        hq_size = Size(*(side - side % scale for side in source_size))
        if 0 in hq_size:
            raise InputError(f"{hq_path}: {source_size} is too small to be reduced by {scale}")
        for clip, times in _clips(islice(reader, max_frames), whole=not settings.is_bicubic):
            reduced = degrade(cut(clip, hq_size), scale, _generator(name or hq_path.name, seed), settings)
            for frame, time_s in zip(reduced, times, strict=True):
                writer.write(frame, time_s)
                digest.update(to_array(frame).tobytes())
            count += len(clip)
    if pixel_digest(lq_path) != digest.hexdigest():
        raise OutputError(f"{lq_path} does not read back as it was written")
    return LqFile(source_size, hq_size, scale, count, digest.hexdigest())


def _clips(frames: Iterable[Frame], *, whole: bool) -> Iterator[tuple[Tensor, list[Fraction]]]:
    """Yield (clip (F, 3, H, W), times): all frames as one clip, or every frame as a clip of one."""
    for part in [list(frames)] if whole else ([frame] for frame in frames):
        yield as_frames(np.stack([frame.rgb for frame in part])), [frame.time_s for frame in part]


def _generator(name: str, seed: int) -> Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def cut(frames: Tensor, size: Size) -> Tensor:
    """Return the top left part of frames (..., H, W)."""
    return frames[..., : size.height, : size.width]


def pixel_digest(path: Path) -> str:
    """Return the SHA-256 of the 8-bit RGB bytes of all frames, which is independent of the lossless format."""
    digest = hashlib.sha256()
    for frame in read_rgb(path):
        digest.update(to_array(frame).tobytes())
    return digest.hexdigest()
