"""Write fixed low-quality inputs for comparisons, losslessly and identified by the hash of their pixels."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Generator, Tensor

from patchvsr.degradation.degrade import BICUBIC, Degradation, degrade
from patchvsr.errors import InputError, OutputError
from patchvsr.media.lossless import LosslessWriter, read_frames, to_array
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size


@dataclass(frozen=True)
class LqFile:
    """The provenance of a low-quality file. Sizes are (height, width) in pixels.

    source_size: size of the original.
    hq_size: the part of the original that the file shows, from the top left corner: the largest multiple of the scale.
        If it is smaller than `source_size`, crop the original to it before comparing.
    sha256: see `pixel_digest`.
    """

    source_size: tuple[int, int]
    hq_size: tuple[int, int]
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
) -> LqFile:
    """Write a degraded video as a lossless FFV1 file with the timestamps of the original.

    The result depends on the clip's pixels and file name, `settings` and `seed`, not on other clips. Bicubic
    downscaling runs frame by frame. Any other degradation holds the whole clip in memory, as 8-bit and during
    processing as float32. The file is read back and its pixels are compared with those written.

    Raises:
        InputError: the original cannot be read, has no frames or is smaller than `scale`.
        OutputError: the file exists, cannot be written, or does not read back as written.
    """
    digest, count = hashlib.sha256(), 0
    source_size = hq_size = (0, 0)
    frames = read_frames(hq_path, max_frames=max_frames)
    with LosslessWriter(lq_path) as writer:
        for clip, times in _clips(frames, whole=not settings.is_bicubic):
            height, width = clip.shape[-2:]
            source_size, hq_size = (height, width), (height - height % scale, width - width % scale)
            if 0 in hq_size:
                raise InputError(f"{hq_path}: {width}x{height} is too small to be reduced by {scale}")
            reduced = degrade(cut(clip, hq_size), scale, _generator(hq_path.name, seed), settings)
            for frame, time_s in zip(reduced, times, strict=True):
                writer.write(frame, time_s)
                digest.update(to_array(frame).tobytes())
            count += len(clip)
    if count == 0:
        raise InputError(f"{hq_path} has no frames")
    if pixel_digest(lq_path) != digest.hexdigest():
        raise OutputError(f"{lq_path} does not read back as it was written")
    return LqFile(source_size, hq_size, scale, count, digest.hexdigest())


def _clips(frames: Iterable[tuple[Tensor, Fraction]], *, whole: bool) -> Iterator[tuple[Tensor, list[Fraction]]]:
    """Yield (clip (F, 3, H, W), times): all frames as one clip, or every frame as a clip of one."""
    if not whole:
        yield from ((frame[None], [time_s]) for frame, time_s in frames)
    elif pairs := [(torch.from_numpy(to_array(frame)), time_s) for frame, time_s in frames]:
        clip = torch.stack([frame for frame, _ in pairs]).permute(0, 3, 1, 2)
        yield clip.float() / 255, [time_s for _, time_s in pairs]


def _generator(name: str, seed: int) -> Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def cut(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the top left part of frames (..., H, W), of `size` (height, width)."""
    return frames[..., : size[0], : size[1]]


def pixel_digest(path: Path) -> str:
    """Return the SHA-256 of the 8-bit RGB bytes of all frames, which is independent of the lossless format."""
    digest = hashlib.sha256()
    for frame, _ in read_frames(path):
        digest.update(to_array(frame).tobytes())
    return digest.hexdigest()
