"""Small real media files, made with PyAV."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

from patchvsr.media import open_reader
from patchvsr.media.tensors import to_tensor

SRT = [(100, 400, "one"), (700, 300, "two"), (1500, 200, "drei äöü")]


def read_timed(path: Path) -> list[tuple[Tensor, Fraction]]:
    """Frames (3, H, W) in [0, 1] with their times in seconds."""
    with open_reader(path) as reader:
        return [(to_tensor(frame.rgb), frame.time_s) for frame in reader]


def picture(index: int, width: int = 64, height: int = 64, dtype: type = np.uint8) -> np.ndarray:
    """(height, width, 3): a smooth gradient that moves with the index."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + index / 5), np.cos(y / 7 - index / 6), np.sin((x + y) / 11)]
    return ((np.stack(waves, -1) + 1) / 2 * np.iinfo(dtype).max).astype(dtype)


def irregular_pts(count: int) -> list[int]:
    """Millisecond times with gaps of 17 to 100: a variable frame rate."""
    gaps = [33, 50, 17, 100, 34]
    return [sum(gaps[i % 5] for i in range(n)) for n in range(count)]


def make_video(
    path: Path,
    *,
    pts: list[int] | None = None,
    count: int = 25,
    time_base: Fraction = Fraction(1, 1000),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 64),
    audio: bool = False,
    subtitles: bool = False,
    tags: dict[str, int] | None = None,
    sample_aspect_ratio: Fraction | None = None,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    chapters: bool = False,
    attachment: bool = False,
) -> Path:
    """A clip of the moving gradient with optional tone (AAC) and SubRip subtitles."""
    pts = pts if pts is not None else [40 * i for i in range(count)]
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.codec_context.time_base = video.time_base = time_base
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if sample_aspect_ratio:
            video.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if rotation:
            video.set_display_rotation(rotation)
        out.metadata["title"] = "A title"
        sound = _add_audio(out) if audio else None
        text = _add_subtitles(out) if subtitles else None
        if attachment:
            out.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        if chapters:
            base = Fraction(1, 1000)
            out.set_chapters(
                [
                    {"id": 1, "start": 0, "end": 500, "time_base": base, "metadata": {"title": "first"}},
                    {"id": 2, "start": 500, "end": 1000, "time_base": base, "metadata": {"title": "second"}},
                ]
            )
        if sound is not None:
            _write_audio(out, sound, seconds=float(pts[-1] * time_base) + 0.04)
        if text is not None:
            _write_subtitles(out, text)
        for index, value in enumerate(pts):
            dtype = np.uint8 if "10" not in pix_fmt and "16" not in pix_fmt else np.uint16
            rgb = picture(index, *size, dtype)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24" if dtype == np.uint8 else "rgb48le")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = value, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def _add_audio(out):
    sound = out.add_stream("aac", rate=48000)
    sound.layout = "mono"
    sound.metadata["language"] = "deu"
    return sound


def _write_audio(out, sound, seconds: float) -> None:
    for start in range(0, int(seconds * 48000), 1024):
        wave = np.sin((np.arange(1024) + start) * 0.05).astype(np.float32)[None] * 0.3
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


def _add_subtitles(out):
    text = out.add_mux_stream("subrip", time_base=Fraction(1, 1000))
    text.metadata["language"] = "fra"
    return text


def _write_subtitles(out, text) -> None:
    for start, duration, line in SRT:
        packet = av.Packet(line.encode())
        packet.pts = packet.dts = start
        packet.duration, packet.time_base, packet.stream = duration, Fraction(1, 1000), text
        out.mux(packet)


def packets(path: Path, kind: str) -> list[tuple]:
    """(time, duration, hash of the payload) of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [
            (p.pts * p.time_base, (p.duration or 0) * p.time_base, hashlib.sha256(bytes(p)).hexdigest())
            for p in container.demux(stream)
            if p.size
        ]


def video_times(path: Path) -> list[Fraction]:
    """Presentation time of every video packet, in order of time."""
    return sorted(time for time, _, _ in packets(path, "video"))
