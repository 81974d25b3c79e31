"""Enlarge a video by a baseline, without loss and with the times of the input.

python -m patchvsr.evaluation.baselines bicubic IN OUT --scale 4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from patchvsr.compute import limit_threads
from patchvsr.errors import PatchVSRError, SettingsError
from patchvsr.evaluation.realesrgan import MODELS, RealEsrgan
from patchvsr.media import open_reader
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.tensors import to_array, to_tensor
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

Enlarge = Callable[[Tensor], Tensor]  # (3, h, w) in [0, 1] -> (3, H, W) in [0, 1]


def bicubic(scale: float) -> Enlarge:
    """Enlarge with the kernel of the canvas (a = -0.5, like MATLAB's imresize)."""
    return lambda frame: resize_bicubic(frame[None], Size.of(frame).scaled(scale))[0]


def lanczos(scale: float) -> Enlarge:
    """Enlarge with Lanczos over three lobes, as Pillow and FFmpeg do."""

    def enlarge(frame: Tensor) -> Tensor:
        picture = Image.fromarray(to_array(frame))
        # A buffer of its own, because torch wants to write to it.
        larger = bytearray(picture.resize(Size.of(frame).scaled(scale), Image.Resampling.LANCZOS).tobytes())
        pixels = torch.frombuffer(larger, dtype=torch.uint8)
        width, height = Size.of(frame).scaled(scale)
        return pixels.view(height, width, 3).permute(2, 0, 1).float() / 255

    return enlarge


def realesrgan(name: str) -> Callable[[float], Enlarge]:
    """Return how to load the Real-ESRGAN model `name`."""

    def load(scale: float) -> Enlarge:
        if scale != 4:
            raise SettingsError(f"scale is {scale:g}: Real-ESRGAN enlarges by 4 only")
        return RealEsrgan(name, threads=torch.get_num_threads())

    return load


BASELINES: dict[str, Callable[[float], Enlarge]] = {
    "bicubic": bicubic,
    "lanczos": lanczos,
    **{f"realesrgan-{name}": realesrgan(name) for name in MODELS},
}


def enlarge_file(name: str, source: Path, target: Path, scale: float) -> None:
    """Enlarge every frame of `source` into the new FFV1 file `target`.

    Raises:
        PatchVSRError: a file cannot be read or written, the scale is not possible, or a package is missing.
    """
    limit_threads()
    enlarge = BASELINES[name](scale)
    with open_reader(source) as reader, LosslessWriter(target) as writer:
        for frame in reader:
            writer.write(enlarge(to_tensor(frame.rgb)), frame.time_s)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=BASELINES)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--scale", type=float, default=4.0)
    args = parser.parse_args()
    try:
        enlarge_file(args.name, args.source, args.target, args.scale)
    except PatchVSRError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
