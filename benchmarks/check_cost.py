"""Measure what checking a frame costs, beside encoding it: one thread, H.264 at the default quality.

python benchmarks/check_cost.py --sizes 1280x720 3840x2160

Prints, in milliseconds per frame: the check as decoded, the check of the restored frame, the check of the encoded frame
with its decoding, and encoding itself.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from patchvsr.jobs.check import CheckedEncoder
from patchvsr.media import EncodeSettings, Frame, open_output, open_reader
from patchvsr.media.lossless import LosslessWriter
from patchvsr.media.segment import EncodedFrame, FrameEncoder
from patchvsr.pixels.compare import MATCHED, check, check_decoded
from patchvsr.pixels.resize import resize_bicubic
from patchvsr.pixels.size import Size

FRAMES = 12


def seconds(work: Callable[[], object]) -> float:
    """Return the duration of a call."""
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


class Replay(FrameEncoder):
    """Return what an encoder returned earlier, so that only the check takes time."""

    def __init__(self, recorded: list[list[EncodedFrame]]) -> None:
        self._recorded = iter(recorded)

    def encode(self, frame: Frame) -> list[EncodedFrame]:
        return next(self._recorded)

    def finish(self) -> list[EncodedFrame]:
        return next(self._recorded)

    def decoder(self) -> None:
        return None


def encode(encoder: FrameEncoder, frames: list[Frame]) -> list[list[EncodedFrame]]:
    """Return what an encoder returns for each frame, and at the end."""
    return [*(encoder.encode(frame) for frame in frames), encoder.finish()]


def measure(size: Size, folder: Path) -> list[float]:
    """Return the four durations per frame in seconds."""
    source = Size(size.width // 4, size.height // 4)
    noise = torch.rand(3, 1 + source.height // 8, 1 + source.width // 8, generator=torch.Generator().manual_seed(0))
    lq = resize_bicubic(noise[None], source)[0]
    with LosslessWriter(folder / f"{size}.mkv") as writer:
        for number in range(FRAMES):
            writer.write(lq.roll(number, -1), Fraction(number, 25))
    with open_reader(folder / f"{size}.mkv") as reader:
        info, given = reader.info, list(reader)
    hq = resize_bicubic(lq[None], size)[0]
    rgb = hq.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    frames = [replace(frame, rgb=np.roll(rgb, 4 * number, 1)) for number, frame in enumerate(given)]
    output = open_output(folder / "out.mkv", source=info, size=size, settings=EncodeSettings("h264"))
    video = (hq * 2 - 1)[:, None].expand(-1, 4, -1, -1)
    decoded = seconds(lambda: check_decoded(video, video, source, 0)) / 4
    restored = seconds(lambda: [check(a.rgb, b.rgb, MATCHED, "", 0) for a, b in zip(given, frames, strict=True)])
    encoder = output.encoder()
    decoder = encoder.decoder()
    assert decoder is not None
    recorded: list[list[EncodedFrame]] = []
    encoding = seconds(lambda: recorded.extend(encode(encoder, frames)))
    again = CheckedEncoder(Replay(recorded), decoder, lambda error, _: error)
    return [decoded, restored / FRAMES, seconds(lambda: encode(again, frames)) / FRAMES, encoding / FRAMES]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "3840x2160"], help="sizes of the output")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("| output | as decoded | restored | encoded | (encoding itself) |", "|---" * 5 + "|", sep="\n")
    with TemporaryDirectory() as folder:
        for text in args.sizes:
            cells = (f"{1000 * value:.1f} ms" for value in measure(Size.parse(text), Path(folder)))
            print(f"| {text} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
