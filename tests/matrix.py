"""Sources of every kind, made to order, and an inventory of what a file holds, read with PyAV alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition, Stream
from clips import SRT, irregular_pts, picture

from patchvsr.media.encoders import usual_priority
from patchvsr.media.hdr import HdrMetadata, read_hdr

MS = Fraction(1, 1000)
COUNT = 24
ZERO, NO_MARKS = Fraction(0), Disposition(0)

# name: time base, times in its ticks
RATES = {
    "25": (Fraction(1, 25), list(range(COUNT))),
    "23.976": (Fraction(1001, 24000), list(range(COUNT))),
    "59.94": (Fraction(1001, 60000), list(range(COUNT))),
    "29.97 at 90 kHz": (Fraction(1, 90000), [3003 * i for i in range(COUNT)]),
    "variable": (MS, irregular_pts(COUNT)),
    "drop-outs": (Fraction(1, 25), [i for i in range(36) if i % 9 < 6]),
    "late": (Fraction(1, 25), list(range(50, 50 + COUNT))),
    "negative": (Fraction(1, 25), list(range(-5, COUNT - 5))),
    "single": (Fraction(1, 25), [0]),
}

ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Alignment
Style: Default,Arial,16,&Hffffff,0,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True)
class Sound:
    codec: str
    language: str = ""
    title: str = ""
    marks: Disposition = NO_MARKS
    rate: int = 48000
    start: Fraction = ZERO


@dataclass(frozen=True)
class Clip:
    """What to make. `color`: attributes of the encoder; `other` streams by name, in the order they are written."""

    suffix: str = ".mkv"
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: str = "25"
    options: dict[str, str] = field(default_factory=dict)
    color: dict[str, int] = field(default_factory=dict)
    shape: Fraction | None = None
    rotation: int = 0
    sounds: tuple[Sound, ...] = ()
    subtitles: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()  # of font, cover, chapters, timecode, data, tags
    container_options: dict[str, str] = field(default_factory=dict)
    side: int = 32  # in pixels: SVT-AV1 needs 64, and so does DNxHR to be 256 when enlarged by 4

    @property
    def deep(self) -> bool:
        return any(c.bits > 8 for c in av.VideoFormat(self.pix_fmt).components)

    @property
    def alpha(self) -> bool:
        return any(c.is_alpha for c in av.VideoFormat(self.pix_fmt).components)


def pictures(clip: Clip) -> list[av.VideoFrame]:
    """Two shots; deep ones differ in their lowest bits from pixel to pixel."""
    base, pts = RATES[clip.rate]
    dtype = np.uint16 if clip.deep else np.uint8
    frames = []
    for index, time in enumerate(pts):
        rgb = picture(index, clip.side, clip.side, dtype)
        if index >= len(pts) // 2:
            rgb = np.iinfo(dtype).max - rgb[::-1] // 3
        names = ("rgb24", "rgba", "rgb48le", "rgba64le")
        if clip.alpha:
            rgb = np.concatenate([rgb, picture(index + 40, clip.side, clip.side, dtype)[..., :1]], axis=-1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=names[2 * clip.deep + clip.alpha])
        frame = frame.reformat(format=clip.pix_fmt)
        frame.pts, frame.time_base, frame.duration = time, base, pts[1] - pts[0] if len(pts) > 1 else 1
        frames.append(frame)
    return frames


def make_clip(clip: Clip, folder: Path) -> Path:
    """Writes the clip as a file, or its frames as images into a folder."""
    if clip.suffix in (".png", ".exr"):
        return _make_images(clip, folder / "in")
    path = folder / f"in{clip.suffix}"
    with av.open(str(path), "w", options=clip.container_options) as out:
        video = _add_video(out, clip)
        sounds = [_add_sound(out, sound) for sound in clip.sounds]
        texts = [_add_text(out, codec) for codec in clip.subtitles]
        waiting = _add_extras(out, video, clip)
        with usual_priority():
            out.start_encoding()
        end = float(RATES[clip.rate][1][-1] * RATES[clip.rate][0]) + 0.04
        for text, codec in zip(texts, clip.subtitles, strict=True):
            waiting += _text_packets(text, codec)
        for stream, sound in zip(sounds, clip.sounds, strict=True):
            waiting += _sound_packets(stream, sound, end)
        for frame in [*pictures(clip), None]:
            waiting += video.encode(frame)
        out.mux(sorted(waiting, key=lambda packet: packet.dts * packet.time_base))
    return path


def _make_images(clip: Clip, folder: Path) -> Path:
    folder.mkdir()
    for number, frame in enumerate(pictures(clip)):
        context = av.CodecContext.create(clip.suffix[1:], "w")
        context.width = context.height = clip.side
        context.pix_fmt, context.time_base = clip.pix_fmt, frame.time_base
        packets = [*context.encode(frame), *context.encode(None)]
        (folder / f"{number + 1:04d}{clip.suffix}").write_bytes(b"".join(map(bytes, packets)))
    return folder


def _add_video(out, clip: Clip):
    base, _ = RATES[clip.rate]
    rate = 25 if base < Fraction(1, 100) else 1 / base
    video = out.add_stream(clip.codec, rate=rate, options=clip.options)
    video.width = video.height = clip.side
    video.pix_fmt = clip.pix_fmt
    video.codec_context.time_base = video.time_base = base
    for name, value in clip.color.items():
        setattr(video.codec_context, name, value)
    if clip.shape:
        video.codec_context.sample_aspect_ratio = clip.shape
    if clip.rotation:
        video.set_display_rotation(clip.rotation)
    return video


def _add_sound(out, sound: Sound):
    stream = out.add_stream(sound.codec, rate=sound.rate)
    stream.layout = "stereo"
    stream.metadata.update({k: v for k, v in (("language", sound.language), ("title", sound.title)) if v})
    stream.disposition = sound.marks
    return stream


def _sound_packets(stream, sound: Sound, seconds: float) -> list[av.Packet]:
    packets = []
    for start in range(0, max(1, int(seconds * sound.rate)), 1024):
        wave = np.sin((np.arange(1024) + start) * 0.05)[None].repeat(2, 0)
        samples = np.ascontiguousarray((wave * 9000).astype(np.int16).T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = start + round(sound.start * sound.rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _add_text(out, codec: str):
    if codec == "ass":  # its packets need a header of styles
        text = out.add_stream(codec)
        text.codec_context.time_base = text.time_base = MS
        text.codec_context.subtitle_header = ASS_HEADER
    else:
        text = out.add_mux_stream(codec, time_base=MS)
    text.metadata["language"] = "fra"
    return text


def _text_packets(text, codec: str) -> list[av.Packet]:
    return [packet(_text(codec, n, line), text, start, span) for n, (start, span, line) in enumerate(SRT)]


def _text(codec: str, number: int, line: str) -> bytes:
    if codec == "mov_text":
        return len(line.encode()).to_bytes(2, "big") + line.encode()
    return f"{number},0,Default,,0,0,0,,{line}".encode() if codec == "ass" else line.encode()


def packet(payload: bytes, stream, pts: int, duration: int = 40) -> av.Packet:
    made = av.Packet(payload)
    made.pts = made.dts = pts
    made.duration, made.time_base, made.stream, made.is_keyframe = duration, MS, stream, True
    return made


def _cover() -> bytes:
    context = av.CodecContext.create("png", "w")
    context.width = context.height = 32
    context.pix_fmt, context.time_base = "rgb24", MS
    return bytes(context.encode(av.VideoFrame.from_ndarray(picture(0, 32, 32), format="rgb24"))[0])


def _add_extras(out, video, clip: Clip) -> list[av.Packet]:
    waiting: list[av.Packet] = []
    if "font" in clip.extras:
        out.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
    if "cover" in clip.extras and out.format.name == "matroska":
        out.add_attachment("front.png", "image/png", _cover())
    elif "cover" in clip.extras:
        cover = out.add_mux_stream("png", width=32, height=32, time_base=MS)
        cover.disposition = Disposition.attached_pic
        waiting.append(packet(_cover(), cover, 0))
    if "data" in clip.extras:
        data = out.add_data_stream("bin_data")
        data.time_base = MS
        waiting += [packet(b"payload %d" % i, data, 40 * i) for i in range(3)]
    if "timecode" in clip.extras:
        video.metadata["timecode"] = "01:02:03:04"
    if "tags" in clip.extras:
        out.metadata.update(title="A title", comment="Some words, äöü", camera_roll="A001")
        video.metadata.update(language="eng", title="The picture")
    if "chapters" in clip.extras:
        marks = [(1, 0, 500, "first"), (2, 500, 900, "second ä")]
        out.set_chapters(
            [{"id": i, "start": a, "end": b, "time_base": MS, "metadata": {"title": title}} for i, a, b, title in marks]
        )
    return waiting


@dataclass
class Track:
    """A stream beside the video. packets: (time, duration, SHA-256 of the payload). content: what is decoded."""

    index: int
    kind: str
    codec: str
    language: str | None
    title: str | None
    marks: set[str]
    tick: Fraction
    packets: list[tuple[Fraction, Fraction, str]] = field(default_factory=list)
    content: list = field(default_factory=list)


@dataclass
class Inventory:
    """times, durations: of decoded frames and of packets, in order of display, in seconds. dts: of all packets in
    the order of the file. end: of the video track by the header; length: of the file by it."""

    times: list[Fraction]
    durations: list[Fraction]
    end: Fraction | None
    length: Fraction
    frames: list[np.ndarray]
    pix_fmt: str
    depth: int
    alpha: bool
    color: tuple[int, int, int, int]
    shape: Fraction
    rotation: int
    hdr: HdrMetadata | None
    video_tags: dict[str, str]
    tracks: list[Track]
    tags: dict[str, str]
    chapters: list[tuple[Fraction, Fraction, str]]
    attachments: list[bytes]
    covers: list[str]
    timecodes: set[str]
    dts: list[tuple[int, Fraction]]
    tick: Fraction


def look(path: Path) -> Inventory:
    """Reads everything; images are numbered files."""
    if path.is_dir():
        return _look_at_images(path)
    with av.open(str(path)) as container:
        others = [s for s in container.streams if not _is_video(s)]
        tracks = {s.index: _track(s) for s in others if s.type != "attachment" and not _is_hidden(s)}
        attachments = [s.data for s in others if s.type == "attachment"]
        timecodes = {v for s in container.streams for k, v in s.metadata.items() if k.lower() == "timecode"}
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title", ""))
            for c in container.chapters()
        ]
        video = next(s for s in container.streams if _is_video(s))
        covers, shown, dts, tick = [], [], [], video.time_base
        for p in container.demux():
            if not p.size:
                continue
            entry = (_seconds(p.pts, p), _seconds(p.duration, p), hashlib.sha256(bytes(p)).hexdigest())
            stream = p.stream
            if stream.disposition & Disposition.attached_pic:
                covers.append(entry[2])
                continue
            dts.append((stream.index, _seconds(p.dts if p.dts is not None else p.pts, p)))
            if stream.index == video.index:
                if not p.is_discard:
                    shown.append(entry[:2])
            elif stream.index in tracks:
                tracks[stream.index].packets.append(_unframed(entry, p, container.format.name))
        shown.sort()
        tags = {k.lower(): v for k, v in container.metadata.items()}
        start = (video.start_time or 0) * tick
        end = start + video.duration * tick if video.duration else None
        length = Fraction(container.duration or 0, av.time_base)
        video_tags, index = dict(video.metadata), video.index
    frames = _decode(path, tracks, index)
    first = frames[0]
    return Inventory(
        times=[f.pts * f.time_base if f.pts is not None else n * tick for n, f in enumerate(frames)],
        durations=[duration for _, duration in shown],
        end=end,
        length=length,
        frames=[_pixels(f) for f in frames],
        pix_fmt=first.format.name,
        depth=max(c.bits for c in first.format.components),
        alpha=any(c.is_alpha for c in first.format.components),
        color=(int(first.color_primaries), int(first.color_trc), int(first.colorspace), int(first.color_range)),
        shape=_shape(path),
        rotation=first.rotation,
        hdr=read_hdr(first),
        video_tags=video_tags,
        tracks=list(tracks.values()),
        tags=tags,
        chapters=chapters,
        attachments=attachments,
        covers=covers,
        timecodes=timecodes,
        dts=dts,
        tick=tick,
    )


def _decode(path: Path, tracks: dict[int, Track], video_index: int) -> list[av.VideoFrame]:
    frames: list[av.VideoFrame] = []
    with av.open(str(path)) as container:
        decoded = {video_index, *(i for i, t in tracks.items() if t.kind in ("audio", "subtitle"))}
        for p in container.demux([s for s in container.streams if s.index in decoded]):
            if p.stream.index == video_index:
                frames += p.decode()
            elif p.stream.type == "audio":
                for frame in p.decode():
                    tracks[p.stream.index].content.append((frame.pts * frame.time_base, frame.to_ndarray().tobytes()))
            elif p.size:
                for part in p.stream.codec_context.decode2(p) or ():
                    words = part.ass.decode().split(",", 8)[-1]
                    if words:
                        tracks[p.stream.index].content.append((_seconds(p.pts, p), _seconds(p.duration, p), words))
    return frames


def _look_at_images(folder: Path) -> Inventory:
    frames = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with av.open(str(file)) as container:
            frames += list(container.decode(video=0))
    layout = frames[0].format
    return Inventory(
        times=[Fraction(i, 24) for i in range(len(frames))], durations=[Fraction(1, 24)] * len(frames),
        end=None, length=Fraction(0),
        frames=[_pixels(f) for f in frames], pix_fmt=layout.name, depth=max(c.bits for c in layout.components),
        alpha=any(c.is_alpha for c in layout.components), color=(2, 2, 0, 2), shape=Fraction(1), rotation=0, hdr=None,
        video_tags={}, tracks=[], tags={}, chapters=[], attachments=[], covers=[], timecodes=set(), dts=[],
        tick=Fraction(1, 24),
    )  # fmt: skip


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    try:
        return frame.to_ndarray()
    except ValueError:  # PyAV does not know this format: the first plane will do
        return np.frombuffer(memoryview(frame.planes[0]), np.uint16)


def _shape(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        video = next(s for s in container.streams if _is_video(s))
        return video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio or Fraction(1)


def _is_video(stream: Stream) -> bool:
    return stream.type == "video" and not stream.disposition & Disposition.attached_pic


def _is_hidden(stream: Stream) -> bool:
    """Cover art, timecode and the titles of chapters: streams to the file, not to its reader."""
    if stream.disposition & Disposition.attached_pic:
        return True
    chapters = stream.type == "data" and "mov_text" not in str(stream) and getattr(stream, "discard", 0) == 48
    return stream.type == "data" and ("timecode" in stream.metadata or chapters)


def _track(stream: Stream) -> Track:
    context, tags = stream.codec_context, stream.metadata
    return Track(
        stream.index,
        stream.type,
        context.codec.canonical_name if context else str(stream.type),
        None if tags.get("language") == "und" else tags.get("language"),
        tags.get("title") or tags.get("name"),
        {str(flag.name) for flag in Disposition if flag & stream.disposition},
        stream.time_base,
    )


def _unframed(entry: tuple[Fraction, Fraction, str], p: av.Packet, container: str) -> tuple[Fraction, Fraction, str]:
    """AAC in a transport stream has a header of 7 bytes on each packet, which other containers keep once."""
    context = p.stream.codec_context
    if container == "mpegts" and context is not None and context.codec.canonical_name == "aac":
        return (*entry[:2], hashlib.sha256(bytes(p)[7:]).hexdigest())
    return entry


def _seconds(ticks: int | None, p: av.Packet) -> Fraction:
    return (ticks or 0) * p.time_base


def distinct(frames: Iterable[np.ndarray]) -> int:
    """How many values occur in the first colour plane, or anywhere."""
    return len(np.unique(np.concatenate([frame.ravel() for frame in frames])))
