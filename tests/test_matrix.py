"""Kinds of sources x kinds of outputs, each compared with its source item by item: kept, or told.

Every job is begun here in units of eight frames, so that each output has joins, within shots and at the cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path

import av
import numpy as np
import pytest
import toy
from av.stream import Disposition
from matrix import RATES, Clip, Inventory, Sound, Track, distinct, look, make_clip

from patchvsr.config import UpscaleConfig
from patchvsr.errors import OutputError
from patchvsr.events import Finished, Planned, Started
from patchvsr.jobs.clip import restore_clip
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.identity import job_identity
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.plan import cut_chunks
from patchvsr.jobs.prepare import open_input, prepare
from patchvsr.jobs.scan import scan
from patchvsr.jobs.stepdown import Pieces
from patchvsr.media import open_reader
from patchvsr.upscale import upscale

FAST = {
    "hevc": {"preset": "ultrafast"},
    "av1": {"preset": "11"},
    "vp9": {"deadline": "realtime", "cpu-used": "8"},
}
VP9_BITS = max(c.bits for f in av.Codec("libvpx-vp9", "w").video_formats for c in f.components)
DEPTHS = {
    "h264": 10,
    "hevc": 12,
    "av1": 10,
    "vp9": VP9_BITS,
    "prores": 10,
    "ffv1": 16,
    "dnxhr": 10,
    ".png": 16,
    ".exr": 16,
}
SAME_LANGUAGE = [{"deu", "ger"}, {"fra", "fre"}]


@dataclass(frozen=True)
class Case:
    """told: a part of every notice there must be, and no other. span: start and end in seconds."""

    clip: Clip
    target: str
    codec: str | None = None
    told: tuple[str, ...] = ()
    span: tuple[float | None, float | None] = (None, None)
    scale: int = 2
    settings: dict = field(default_factory=dict)

    @property
    def encoded_as(self) -> str:
        if self.target in (".png", ".exr"):
            return self.target
        return self.codec or ("av1" if self.target == ".webm" else "h264")

    def config(self) -> UpscaleConfig:
        return UpscaleConfig(
            scale=self.scale,
            num_inference_steps=0,
            chunk_frames=5,
            codec=self.codec,
            start_s=self.span[0],
            end_s=self.span[1],
            encoder_options=FAST.get(self.encoded_as, {}),
            **self.settings,
        )

    def __str__(self) -> str:
        clip = self.clip
        parts = [clip.suffix[1:], clip.codec, clip.pix_fmt, clip.rate]
        parts += [sound.codec for sound in clip.sounds] + [*clip.subtitles, *clip.extras, *clip.color]
        parts += [str(clip.shape)] * bool(clip.shape) + ["rotated"] * bool(clip.rotation)
        parts += [f"{self.span[0]}..{self.span[1]}"] * (self.span != (None, None))
        return " ".join(parts) + " to " + " ".join([self.target[1:], self.codec or "default"])


@pytest.fixture(scope="module")
def pipeline():
    return toy.pipeline(num_inference_steps=0)


def run(case: Case, folder: Path, pipeline, source: Path | None = None) -> tuple[Path, Path, list]:
    """(source, output, events)."""
    source = source or make_clip(case.clip, folder)
    target = folder / "out" / "%04d.png" if case.target == ".png" else folder / f"out{case.target}"
    target = folder / "out" / f"%04d{case.target}" if case.target in (".png", ".exr") else target
    begin(source, target, case.config(), pipeline)
    events = list(upscale(source, target, case.config(), pipeline=pipeline))
    return source, target.parent if "%" in target.name else target, events


def begin(source: Path, target: Path, config: UpscaleConfig, pipeline, *, unit_frames: int = 8) -> None:
    """Makes a job as an interrupted run leaves it, before its first unit is done; `upscale` goes on there."""
    _, size, output, _ = prepare(source, target, config)
    with open_input(source, config) as reader:
        steps = scan(reader)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                scanned = end.value
                break
    folder = JobFolder(target)
    identity = job_identity(source, config, size, output.profile, pipeline)
    with folder.locked():
        folder.write_manifest(Manifest(identity, scanned, config.chunk_frames, config.overlap_frames, unit_frames))


AAC = (Sound("aac"),)
OPUS = (Sound("libopus"),)
B_FRAMES = Clip(options={"preset": "fast"}, sounds=AAC)
MP4, MOV = replace(B_FRAMES, suffix=".mp4"), replace(B_FRAMES, suffix=".mov")
WEBM = Clip(".webm", "libvpx-vp9", options=FAST["vp9"], sounds=OPUS)
HEVC = Clip(codec="libx265", options={"preset": "ultrafast", "x265-params": "log-level=error:bframes=3"}, sounds=AAC)
AV1 = Clip(codec="libsvtav1", options={"preset": "11"}, sounds=OPUS)
PRORES = Clip(".mov", "prores_ks", "yuv422p10le", sounds=(Sound("pcm_s24le"),))
DEEP = replace(HEVC, pix_fmt="yuv420p10le")

SOUNDS = (Sound("aac", "eng", "Main", Disposition.default), Sound("ac3", "deu", "Commentary", Disposition.comment))
RICH = replace(
    B_FRAMES,
    sounds=(*SOUNDS, Sound("libopus", "fra")),
    subtitles=("subrip", "ass", "webvtt"),
    extras=("font", "cover", "chapters", "timecode", "tags"),
)
RICH_MP4 = replace(B_FRAMES, sounds=SOUNDS, subtitles=("mov_text",), extras=("cover", "chapters", "data", "tags"))
HDR10 = replace(
    DEEP,
    color=dict(color_primaries=9, color_trc=16, colorspace=9, color_range=1),
    options={
        "preset": "ultrafast",
        "x265-params": "log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
        "L(10000000,50):max-cll=1000,400",
    },
)

CASES = [
    # Rates and clocks.
    *(Case(replace(MP4, rate=rate), target) for rate in RATES for target in (".mp4", ".mkv", ".mov")),
    *(Case(replace(B_FRAMES, rate=rate), ".mp4") for rate in RATES),
    *(Case(replace(WEBM, rate=rate), ".webm") for rate in ("variable", "drop-outs", "late", "single")),
    *(Case(replace(B_FRAMES, rate=rate), ".mov", "prores") for rate in ("variable", "late")),
    *(Case(replace(B_FRAMES, rate=rate), ".mkv", codec) for rate in ("variable", "negative") for codec in ("hevc", "ffv1")),
    *(Case(replace(MP4, rate="variable"), ".mp4", codec) for codec in ("hevc", "av1")),
    # Codecs and containers.
    Case(Clip(".ts", "mpeg2video", options={"bf": "2"}, sounds=(*AAC, Sound("mp2"), Sound("ac3"))), ".mkv"),
    Case(Clip(".ts", "mpeg2video", options={"bf": "2"}, sounds=(*AAC, Sound("ac3"))), ".mp4"),
    Case(replace(B_FRAMES, suffix=".ts", rate="29.97 at 90 kHz"), ".mkv", "hevc"),
    Case(replace(B_FRAMES, suffix=".ts", rate="variable"), ".mov"),
    Case(replace(B_FRAMES, suffix=".ts", rate="29.97 at 90 kHz"), ".mp4"),
    Case(Clip(".avi", "mpeg4", options={"bf": "2"}, sounds=(Sound("libmp3lame"),)), ".mkv"),
    Case(Clip(".avi", "mpeg4", sounds=(Sound("pcm_s16le"),)), ".mov", "prores"),
    Case(Clip(".avi", "mjpeg", "yuvj420p", sounds=(Sound("ac3"),)), ".mp4"),
    Case(Clip(".webm", "libvpx", sounds=OPUS), ".mkv"),
    Case(Clip(".webm", "libvpx", sounds=OPUS), ".webm", "vp9"),
    Case(WEBM, ".mp4"),
    Case(AV1, ".webm", "vp9"),
    Case(AV1, ".mp4", "av1"),
    Case(HEVC, ".mp4", "hevc"),
    Case(HEVC, ".mov"),
    Case(Clip(codec="ffv1", pix_fmt="bgr0", sounds=(Sound("flac"),)), ".mkv", "ffv1"),
    Case(Clip(codec="ffv1", sounds=(Sound("flac"),)), ".mp4", "hevc"),
    Case(Clip(".mov", "mjpeg", "yuvj422p"), ".mov"),
    Case(PRORES, ".mov", "prores"),
    Case(PRORES, ".mkv", "ffv1"),
    Case(PRORES, ".mov", "dnxhr", scale=4),
    Case(B_FRAMES, ".mov", "dnxhr", scale=4),
    # Depths, alpha, images.
    *(Case(DEEP, target, codec) for target, codec in (
        (".mkv", "h264"), (".mp4", "hevc"), (".mkv", "av1"), (".mov", "prores"), (".mkv", "ffv1"),
    )),
    Case(replace(HEVC, pix_fmt="yuv420p12le"), ".mp4", "hevc"),
    Case(replace(HEVC, pix_fmt="yuv444p12le"), ".mkv", "av1", told=("reduced: 12 bits",)),
    Case(replace(HEVC, pix_fmt="yuv420p12le"), ".mkv", "ffv1"),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".mkv", "ffv1"),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".mp4", "hevc", told=("reduced: 16 bits",)),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".png", told=("times",)),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".exr", told=("times",)),
    Case(replace(MP4, rate="variable", shape=Fraction(4, 3), rotation=90), ".png",
         told=("times", "stream 1 (audio, aac", "rotation", "pixel shape 4/3")),
    Case(replace(HDR10, color=dict(color_primaries=9, color_trc=16, colorspace=9)), ".exr", told=("times", "stream 1 (audio, aac", "hdr10")),
    Case(Clip(codec="ffv1", pix_fmt="bgra"), ".mkv", "ffv1"),
    Case(Clip(codec="ffv1", pix_fmt="bgra"), ".mp4", told=("alpha is not kept",)),
    Case(Clip(".mov", "prores_ks", "yuva444p10le"), ".mov", "prores", told=("reduced: 12 bits",)),
    Case(Clip(".mov", "prores_ks", "yuva444p10le"), ".png", told=("times",)),
    Case(Clip(".png", "png", "rgb24"), ".mkv"),
    Case(Clip(".png", "png", "rgb48be"), ".mkv", "ffv1"),
    Case(Clip(".png", "png", "rgba64be"), ".png"),
    Case(Clip(".png", "png", "rgb24"), ".mp4", "hevc"),
    Case(Clip(".exr", "exr", "gbrpf32le"), ".exr"),
    Case(Clip(".exr", "exr", "gbrpf32le"), ".mkv", "hevc", told=("reduced: 16 bits",)),
    # Streams.
    Case(RICH, ".mkv"),
    Case(RICH, ".mp4", told=("not copied: stream 7 (attachment", "converted: stream 4", "converted: stream 5", "converted: stream 6", "camera_roll")),
    Case(replace(RICH, sounds=SOUNDS), ".mov", told=("not copied: stream 6 (attachment", "converted: stream 3", "converted: stream 4", "converted: stream 5", "is marked", "pictures")),
    Case(replace(RICH_MP4, suffix=".mp4"), ".mkv", told=("converted: stream 3", "data")),
    Case(replace(RICH_MP4, suffix=".mp4"), ".mp4"),
    Case(replace(RICH_MP4, suffix=".mp4"), ".mov", told=("is marked", "pictures")),
    Case(replace(RICH_MP4, suffix=".mov", extras=("chapters", "timecode", "tags")), ".mp4"),
    Case(replace(RICH_MP4, suffix=".mov", extras=("chapters", "timecode", "tags")), ".mkv", told=("converted: stream 3",)),
    Case(replace(WEBM, subtitles=("webvtt",), extras=("chapters", "tags")), ".webm"),
    Case(replace(WEBM, subtitles=("webvtt",), extras=("chapters", "tags")), ".mp4", told=("converted: stream 2", "camera_roll")),
    Case(replace(WEBM, subtitles=("webvtt",), extras=("chapters", "tags")), ".mkv"),
    Case(replace(B_FRAMES, sounds=tuple(Sound(c) for c in ("ac3", "libopus", "flac", "pcm_s16le", "libmp3lame"))), ".mkv"),
    Case(replace(B_FRAMES, sounds=tuple(Sound(c) for c in ("ac3", "libopus", "flac", "pcm_s16le", "libmp3lame"))), ".mp4"),
    Case(replace(B_FRAMES, sounds=(Sound("aac", start=Fraction(1, 4)), Sound("ac3", rate=44100))), ".mp4"),
    Case(replace(B_FRAMES, suffix=".mov", sounds=(Sound("pcm_s24le"), Sound("alac"))), ".mov"),
    Case(replace(B_FRAMES, suffix=".mov", sounds=(Sound("pcm_s24le"), Sound("alac"))), ".mkv"),
    Case(replace(B_FRAMES, sounds=(Sound("alac"), Sound("pcm_s24le"))), ".mov"),
    Case(Clip(".avi", "mpeg4", sounds=(Sound("flac"),)), ".mp4"),
    # Colours, shapes.
    *(Case(HDR10, target, codec) for target, codec in (
        (".mkv", "hevc"), (".mp4", "hevc"), (".mkv", "h264"), (".mp4", "av1"), (".mkv", "ffv1"), (".mov", "prores"),
    )),
    Case(HDR10, ".mov", "dnxhr", scale=4, told=("hdr10",)),
    Case(replace(HDR10, sounds=OPUS), ".webm", "vp9", told=("reduced",) * (VP9_BITS < 10)),
    Case(replace(DEEP, color=dict(color_primaries=9, color_trc=18, colorspace=9, color_range=1)), ".mkv", "hevc"),
    Case(replace(DEEP, color=dict(color_primaries=9, color_trc=18, colorspace=9, color_range=1)), ".mp4", "av1"),
    *(Case(replace(B_FRAMES, color=dict(color_range=2, color_primaries=1, color_trc=1, colorspace=1)), target, codec) for target, codec in (
        (".mkv", None), (".mp4", "hevc"), (".mkv", "ffv1"), (".mov", "prores"),
    )),
    *(Case(replace(MP4, color=dict(color_primaries=5, color_trc=6, colorspace=5, color_range=1)), target, codec) for target, codec in (
        (".mkv", None), (".mp4", "av1"), (".mov", "prores"),
    )),
    *(Case(replace(MP4, shape=Fraction(4, 3), rotation=90), target, codec) for target, codec in (
        (".mkv", None), (".mkv", "hevc"), (".mp4", None), (".mp4", "av1"), (".mov", "prores"), (".mov", "hevc"),
    )),
    *(Case(replace(B_FRAMES, shape=Fraction(16, 15), rotation=180), target) for target in (".mkv", ".mp4", ".mov")),
    # Ranges.
    *(Case(replace(clip, rate=rate), target, span=span)
      for clip, target, rate, span in (
        (replace(RICH, extras=("font", "cover", "chapters", "tags")), ".mkv", "25", (0.2, 0.8)), (MP4, ".mp4", "variable", (0.3, None)), (MP4, ".mkv", "29.97 at 90 kHz", (0.1, 0.5)),
        (B_FRAMES, ".mp4", "late", (0.3, 0.61)), (B_FRAMES, ".mov", "23.976", (None, 0.5)), (WEBM, ".webm", "drop-outs", (0.35, 0.9)),
        (replace(B_FRAMES, suffix=".ts"), ".mp4", "29.97 at 90 kHz", (0.2, 0.6)),
    )),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everything_is_kept_or_told(tmp_path, pipeline, case):
    if ".exr" in (case.target, case.clip.suffix):
        pytest.importorskip("OpenEXR")
    source, target, events = run(case, tmp_path, pipeline)
    notices = tuple(notice.lower() for notice in started(events).notices)
    assert isinstance(events[-1], Finished)
    assert unmatched(case.told, notices) == []
    compare(case, look(source), look(target), notices, last_duration(source))


def started(events: list) -> Started:
    return next(event for event in events if isinstance(event, Started))


def unmatched(told: tuple[str, ...], notices: tuple[str, ...]) -> list[str]:
    """Parts that no notice has, and notices without a part."""
    missing = [part for part in told if not any(part in notice for notice in notices)]
    return missing + [notice for notice in notices if not any(part in notice for part in told)]


def last_duration(source: Path) -> Fraction | None:
    with open_reader(source) as reader:
        *_, last = reader
        return None if last.duration is None else last.duration * last.time_base


def compare(case: Case, source: Inventory, out: Inventory, notices: tuple[str, ...], last: Fraction | None) -> None:
    images = case.target in (".png", ".exr")
    start = compare_times(case, source, out, last, images)
    compare_pictures(case, source, out, notices)
    if not images:
        shift = out.times[0] - expected_times(case, source)[0]
        compare_tracks(case, source, out, notices, shift, start)
        compare_rest(case, source, out, notices, start)
        assert interleaving(out) < 1


def expected_times(case: Case, source: Inventory) -> list[Fraction]:
    times = [n * source.tick for n in range(len(source.times))] if case.clip.suffix == ".avi" else source.times
    first = range_start(case, source)
    end = None if case.span[1] is None else times[0] + seconds(case.span[1])
    return [time - first for time in times if time >= first and (end is None or time < end)] if first else [
        time for time in times if end is None or time < end
    ]  # fmt: skip


def range_start(case: Case, source: Inventory) -> Fraction:
    """What is taken away from every time."""
    if case.span[0] is None:
        return Fraction(0)
    return source.times[0] + ceil(seconds(case.span[0]) / source.tick) * source.tick


def seconds(number: float) -> Fraction:
    return Fraction(str(number))


def compare_times(case: Case, source: Inventory, out: Inventory, last: Fraction | None, images: bool) -> Fraction:
    times = expected_times(case, source)
    assert len(out.frames) == len(times)
    assert len(out.durations) == len(times)
    start = range_start(case, source)
    if images:
        return start
    matroska = case.target in (".mkv", ".webm")
    shift = out.times[0] - times[0]
    if abs(shift) > out.tick / 2:  # Matroska has no times below 0: there all streams move
        assert matroska and min(time for _, time in source.dts) < 0
    else:
        shift = Fraction(0)
    off = [abs(after - before - shift) for before, after in zip(times, out.times, strict=True)]
    assert max(off) <= (out.tick / 2 if matroska else 0) + (out.tick / 2 if shift else 0)
    steps = [b - a for a, b in pairwise(times)]
    if matroska and source.hdr and case.codec in ("ffv1", "vp9"):  # PyAV cannot give these a default duration
        assert out.length >= times[-1] + last - Fraction(1, 1000)
    elif matroska:
        durations = steps if case.span[1] is not None or last is None else [*steps, last]
        # Matroska keeps one length for all in nanoseconds, which FFmpeg cuts to its clock.
        assert all(abs(a - b) < out.tick for a, b in zip(durations, out.durations, strict=False))
    elif last is not None and case.span[1] is None:
        assert abs(out.end - (times[-1] + last)) <= Fraction(1, 1000)
    return start


def compare_pictures(case: Case, source: Inventory, out: Inventory, notices: tuple[str, ...]) -> None:
    limit = DEPTHS[case.encoded_as]
    assert out.depth >= min(source.depth, limit)
    assert (min(source.depth, 16) > limit) == any("reduced" in notice for notice in notices)
    if min(source.depth, limit) > 8:
        assert distinct(out.frames) > 256
    assert out.alpha or not source.alpha or any("alpha" in notice for notice in notices)
    if case.target in (".png", ".exr"):
        return
    primaries, transfer, matrix, span = source.color
    yuv = out.color[2] != 0
    if case.clip.suffix not in (".png", ".exr"):
        assert out.color[:2] == (primaries, transfer)
    if yuv:
        full = 1 if case.codec == "prores" else 2 if source.pix_fmt.startswith("yuvj") else span
        matrix = 1 if case.codec == "dnxhr" or is_rgb(source) else 6 if matrix == 2 else matrix
        assert out.color[2:] == (matrix, 1 if is_rgb(source) else full or 1)
    assert out.shape == source.shape
    assert out.rotation == source.rotation
    if source.hdr is None:
        assert out.hdr is None
    elif not any("hdr10" in notice for notice in notices):
        assert out.hdr is not None
        assert (out.hdr.max_cll, out.hdr.max_fall) == (source.hdr.max_cll, source.hdr.max_fall)
        assert np.allclose(light(out), light(source), atol=1e-4)


def is_rgb(found: Inventory) -> bool:
    return found.pix_fmt.startswith(("rgb", "bgr", "gbr"))


def light(found: Inventory) -> list[float]:
    hdr = found.hdr
    points = [v for point in (*hdr.primaries, hdr.white_point) for v in point]
    return [float(value) for value in (*points, hdr.min_luminance, hdr.max_luminance)]


def compare_tracks(
    case: Case, source: Inventory, out: Inventory, notices: tuple[str, ...], shift: Fraction, start: Fraction
) -> None:
    def told(what: str, track: Track) -> bool:
        return any(notice.startswith(f"{what}: stream {track.index} (") for notice in notices)

    carried = [track for track in source.tracks if not told("not copied", track)]
    assert [track.kind for track in out.tracks] == [track.kind for track in carried]
    shift = shift if abs(shift) > out.tick / 2 else Fraction(0)
    for before, after in zip(carried, out.tracks, strict=True):
        assert after.language == before.language or {after.language, before.language} in SAME_LANGUAGE
        assert after.title == before.title
        for mark in before.marks - after.marks:
            assert any(f"stream {before.index} (" in notice and mark in notice for notice in notices)
        tolerance = after.tick / 2 + (after.tick / 2 if shift else 0)
        if before.codec.startswith("pcm_"):  # of even length in MP4, whatever a clock of milliseconds made of it
            tolerance += before.tick / 2
        if before.kind == "subtitle":
            compare_lines(case, source, before, after, shift, start, tolerance)
        elif before.kind != "data" or before.packets:
            compare_packets(case, source, before, after, shift, start, tolerance)
        if not told("converted", before):
            assert after.codec == before.codec


def compare_packets(
    case: Case, source: Inventory, before: Track, after: Track, shift: Fraction, start: Fraction, tolerance: Fraction
) -> None:
    end = None if case.span[1] is None else source.times[0] + seconds(case.span[1])
    inside = [p for p in before.packets if p[0] >= start or not start]
    inside = [p for p in inside if end is None or p[0] < end]
    assert [digest for *_, digest in after.packets] == [digest for *_, digest in inside]
    assert all(abs(b[0] - (a[0] - start + shift)) <= tolerance for a, b in zip(inside, after.packets, strict=True))
    if start == 0 and end is None:  # a decoder needs a packet or two to start, so the first of a range are not whole
        if shift:  # MP4 says which samples a decoder needs to start; in Matroska they are heard, before the first frame
            assert len(before.content) <= len(after.content) <= len(before.content) + 2
        else:
            assert after.content[:1] or not before.content
        # What encoders add at the end is cut off by Matroska alone.
        heard = list(zip(before.content[::-1], after.content[::-1], strict=False))[1:-1]
        assert all(new == old for (_, old), (_, new) in heard)
        assert all(abs(b - a - shift) <= Fraction(1, 1000) for (a, _), (b, _) in heard)


def compare_lines(
    case: Case, source: Inventory, before: Track, after: Track, shift: Fraction, start: Fraction, tolerance: Fraction
) -> None:
    end = None if case.span[1] is None else source.times[0] + seconds(case.span[1])
    inside = [line for line in before.content if line[0] >= start and (end is None or line[0] < end)]
    assert [words for *_, words in after.content] == [words for *_, words in inside]
    for (time, duration, _), (new_time, new_duration, _) in zip(inside, after.content, strict=True):
        assert abs(new_time - (time - start + shift)) <= tolerance
        assert new_duration == duration


def compare_rest(case: Case, source: Inventory, out: Inventory, notices: tuple[str, ...], start: Fraction) -> None:
    def told(*words: str) -> bool:
        return any(all(word in notice for word in words) for notice in notices)

    for name in ("title", "comment", "camera_roll"):
        assert out.tags.get(name) == source.tags.get(name) or told("tags", name)
    for name in ("language", "title"):
        before, after = (
            tags.get(name, tags.get("name" if name == "title" else "")) for tags in (source.video_tags, out.video_tags)
        )
        assert before in (after, "und") or (before is None and after == "und") or told("tags", name)
    end = None if case.span[1] is None else source.times[0] + seconds(case.span[1])
    chapters = [
        (max(a, start) - start, (b if end is None else min(b, end)) - start, title)
        for a, b, title in source.chapters
        if b > start and (end is None or a < end)
    ]
    assert out.chapters == chapters
    assert out.attachments == source.attachments or told("attachment")
    assert out.covers == source.covers or told("pictures")
    assert out.timecodes == source.timecodes or told("timecode")


def interleaving(out: Inventory) -> Fraction:
    """By how much a packet comes later in the file than one that is due after it, at most."""
    latest, worst = Fraction(0), Fraction(0)
    for _, time in out.dts:
        worst, latest = max(worst, latest - time), max(latest, time)
    return worst


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "gbrp16le"])
def test_joins_lose_nothing(tmp_path, pipeline, pix_fmt):
    """FFV1 holds exactly what the pipeline gives, run here chunk by chunk, without a job."""
    case = Case(Clip(codec="ffv1", pix_fmt=pix_fmt), ".mkv", "ffv1")
    source, target, events = run(case, tmp_path, pipeline)
    assert next(event for event in events if isinstance(event, Planned)).units >= 3
    config = case.config()
    with open_reader(source) as reader:
        frames = list(reader)
    cuts = [range(12), range(12, 24)]
    expected = []
    for chunk in cut_chunks(cuts, config.chunk_frames, config.overlap_frames):
        clip = frames[chunk.start : chunk.stop]
        restored, _ = restore_clip(
            pipeline, config, (128, 128), clip, pieces=Pieces(1, 1280), shared=chunk.shared, place=chunk.place
        )
        expected += [frame.rgb for frame in restored]
    with open_reader(target) as reader:
        written = [frame.rgb for frame in reader]
    assert len(written) == len(expected) == len(frames)
    assert all(np.array_equal(a, b) for a, b in zip(written, expected, strict=True))


@pytest.mark.parametrize(("codec", "scale"), [("dnxhr", 4), ("prores", 2)])
@pytest.mark.parametrize("color", [dict(colorspace=5), dict(color_range=2, colorspace=9)])
def test_codecs_with_fixed_colours_get_their_own(tmp_path, pipeline, codec, scale, color):
    """DNxHR has one matrix here and ProRes one range: whoever goes by that must see the colours of the source."""
    clip = Clip(codec="libx264", pix_fmt="yuv444p", options={"crf": "0"}, color=color)
    case = Case(clip, ".mov", codec, scale=scale)
    _, target, _ = run(case, tmp_path, pipeline)
    (tmp_path / "same").mkdir()
    _, lossless, _ = run(replace(case, target=".mkv", codec="ffv1"), tmp_path / "same", pipeline)
    with open_reader(target) as lossy, open_reader(lossless) as exact:
        means = [[f.rgb.mean((0, 1)) / np.iinfo(f.rgb.dtype).max for f in frames] for frames in (lossy, exact)]
    assert np.allclose(*means, atol=0.01)


@pytest.mark.parametrize(("clip", "target", "codec", "words"), [
    (replace(B_FRAMES, sounds=OPUS), ".mov", None, "stream 1 \\(audio, opus\\) does not fit into mov; use .mkv"),
    (B_FRAMES, ".webm", None, "stream 1 \\(audio, aac\\) does not fit into webm; use .mkv"),
    (B_FRAMES, ".mkv", "dnxhr", "matroska cannot hold dnxhd video; use .mov"),
    (B_FRAMES, ".webm", "h264", "webm cannot hold libx264 video; use .mkv"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_the_work(tmp_path, pipeline, clip, target, codec, words):
    with pytest.raises(OutputError, match=words):
        list(upscale(make_clip(clip, tmp_path), tmp_path / f"out{target}", Case(clip, target, codec, scale=4).config(),
                     pipeline=pipeline))  # fmt: skip
    assert not list(tmp_path.glob("out*"))
