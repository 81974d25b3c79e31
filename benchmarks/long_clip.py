"""Upscale a three-minute clip with audio, subtitles and chapters; check that all is kept and in sync at the end.

python benchmarks/long_clip.py --out FOLDER [--minutes 3] [--steps 0] [--suffix .mkv]

The clip is generated: camera moves over photos at 24000/1001 frames/s, with a white frame and a simultaneous click
every ten seconds. It is upscaled as a job, and the output is verified, decoded and compared with the source. Running
the same command again resumes the job.
"""

import argparse
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from patchvsr.degradation.lq_file import bicubic_reduce
from patchvsr.evaluation.synthetic import PHOTOS, camera_move, load_photo
from patchvsr.events import Planned
from patchvsr.jobs.verify import verify
from patchvsr.media.tensors import to_array
from patchvsr.pixels.size import Size
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

RATE = Fraction(24000, 1001)
SAMPLE_RATE = 48_000
SIZE = Size(160, 96)
FLASH_EVERY = 240  # frames: ten seconds


def make_clip(path: Path, minutes: float) -> int:
    """Write the source clip and return its number of frames."""
    count = round(minutes * 60 * RATE)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = out.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        sound.metadata["language"] = "eng"
        text = out.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        text.metadata["language"] = "deu"
        milliseconds = Fraction(1, 1000)
        marks = [round(minutes * 60_000 * i / 3) for i in range(4)]
        out.set_chapters(
            [
                {"id": i + 1, "start": a, "end": b, "time_base": milliseconds, "metadata": {"title": f"part {i + 1}"}}
                for i, (a, b) in enumerate(pairwise(marks))
            ]
        )
        for start in range(1000, round(minutes * 60_000) - 2000, 4000):
            packet = av.Packet(f"line {start // 4000}".encode())
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = 2000, milliseconds, text
            out.mux(packet)
        out.mux(sound.encode(_sound(clicks(count, minutes))))
        out.mux(sound.encode(None))
        for index, picture in enumerate(frames(count)):
            frame = av.VideoFrame.from_ndarray(to_array(picture), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, 1 / RATE
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return count


def frames(count: int) -> Iterator[Tensor]:
    """Yield frames (3, H, W) in shots of ten seconds, each ending with a white frame."""
    for first in range(0, count, FLASH_EVERY):
        length = min(FLASH_EVERY, count - first)
        photo = load_photo(PHOTOS[first // FLASH_EVERY % len(PHOTOS)])
        for index, frame in enumerate(camera_move(photo, SIZE.scaled(2), length)):
            yield (
                torch.ones(3, SIZE.height, SIZE.width)
                if index == FLASH_EVERY - 1
                else bicubic_reduce(frame[None], 2)[0]
            )


def clicks(count: int, minutes: float) -> np.ndarray:
    """Return silence (samples,) with a click at the start of every white frame."""
    samples = np.zeros(round(minutes * 60 * SAMPLE_RATE), np.float32)
    for index in range(FLASH_EVERY - 1, count, FLASH_EVERY):
        start = round(index / RATE * SAMPLE_RATE)
        samples[start : start + 960] = np.sin(np.arange(960) * 0.3)[: len(samples) - start]
    return samples


def _sound(samples: np.ndarray) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
    return frame


def sync(path: Path) -> list[tuple[float, float]]:
    """Decode a file and return (time of a white frame, time of its click) in seconds, for each click."""
    with av.open(str(path)) as container:
        flashes = [f.time for f in container.decode(video=0) if f.to_ndarray(format="gray").mean() > 225]
    times, loud = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            level = np.abs(frame.to_ndarray()).max(axis=0)
            loud.append(level > 0.2)
            times.append(frame.time + np.arange(len(level)) / frame.sample_rate)
    moments = np.concatenate(times)[np.concatenate(loud)]
    starts = moments[np.diff(moments, prepend=-1) > 1]
    return list(zip(flashes, starts, strict=True))


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return sorted(p.pts * p.time_base for p in container.demux(video=0) if p.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for source and output, kept")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--suffix", default=".mkv")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    source, target = args.out / "source.mkv", args.out / f"large{args.suffix}"
    if not source.exists():
        make_clip(source, args.minutes)
    started_at = time.monotonic()
    for event in upscale(source, target, UpscaleSettings.of(num_inference_steps=args.steps)):
        if isinstance(event, Planned):
            print(event, flush=True)
    seconds = time.monotonic() - started_at

    before, after = times(source), times(target)
    moved = max(abs(a - b) for a, b in zip(before, after, strict=True))
    offsets = [(click - flash) * 1000 for flash, click in sync(source)], [(c - f) * 1000 for f, c in sync(target)]
    checked = verify(target)
    print(f"| frames in, out | {len(before)}, {len(after)} |")
    print(f"| largest change of a timestamp | {float(moved) * 1000:.3f} ms |")
    for kind in ("audio", "subtitle"):
        kept = packets(source, kind) == packets(target, kind)
        print(f"| {kind} packets, payload and time equal | {len(packets(target, kind))}, {kept} |")
    with av.open(str(source)) as a, av.open(str(target)) as b:
        print(f"| chapters, equal | {len(b.chapters())}, {a.chapters() == b.chapters()} |")
    frame_ms = float(1000 / RATE)
    print(f"| click after flash, source: first, last | {offsets[0][0]:.1f} ms, {offsets[0][-1]:.1f} ms |")
    print(f"| click after flash, output: first, last | {offsets[1][0]:.1f} ms, {offsets[1][-1]:.1f} ms |")
    print(f"| in sync at the end within a frame ({frame_ms:.1f} ms) | {abs(offsets[1][-1]) < frame_ms} |")
    print(f"| verify | {checked.difference or 'as written'}, {checked.frames} frames, {checked.streams} streams |")
    print(f"| seconds, frames a second | {seconds:.0f}, {len(after) / seconds:.2f} |")


if __name__ == "__main__":
    main()
