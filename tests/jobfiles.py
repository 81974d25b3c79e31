"""Small jobs of several shots and units, and what they have made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from clips import picture
from footage import one_shot

from patchvsr.events import Event
from patchvsr.pipeline import PatchVSRPipeline
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

SIDE = 40
NARROW = (32, 40)  # enlarged, two patches of the toy model above each other, instead of four
SHOTS = (21, 2, 11)
# Units of 9, 12, 5 and 8 frames: the first hands latents on to the second, the third holds the end of three shots.
SMALL = dict(scale=2.0, chunk_frames=5, overlap_frames=1, unit_frames=9)


def shots(lengths: Sequence[int] = SHOTS, width: int = SIDE, height: int = SIDE) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of shots of these lengths: noise of another seed each, with a moving square."""
    for seed, length in enumerate(lengths):
        yield from one_shot(length, seed, height, width) // 2 + picture(40 * seed, width, height) // 2


def make_shots(
    path: Path,
    lengths: Sequence[int] = SHOTS,
    *,
    size: tuple[int, int] = (SIDE, SIDE),
    codec: str = "libx264",
    audio: bool = True,
    **options: str,
) -> Path:
    """A video of `shots`, 40 ms a frame."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options={"threads": "1", **options})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono") if audio else None
        for index, rgb in enumerate(shots(lengths, *size)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
            if sound is not None:
                tone = av.AudioFrame.from_ndarray(np.full((1, 320), index, np.int16), format="s16", layout="mono")
                tone.sample_rate, tone.pts, tone.time_base = 8000, 320 * index, Fraction(1, 8000)
                container.mux(sound.encode(tone))
        for stream in container.streams:
            container.mux(stream.encode(None))
    return path


def events(source: Path, target: Path, pipeline: PatchVSRPipeline, **options: Any) -> Iterator[Event]:
    """`upscale` with the settings `SMALL` and others; `stop` is handed on."""
    stop = options.pop("stop", None)
    return upscale(source, target, UpscaleSettings.of(**(SMALL | options)), pipeline=pipeline, stop=stop)


def run(source: Path, target: Path, pipeline: PatchVSRPipeline, **options: Any) -> list[Event]:
    return list(events(source, target, pipeline, **options))


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all images in a folder with their names."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update((file.name if path.is_dir() else "").encode() + file.read_bytes())
    return found.hexdigest()
