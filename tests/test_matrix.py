"""Kinds of sources x kinds of outputs, each compared with its source item by item: kept, or told.

Every job is begun here in units of eight frames, so that each output has joins, within shots and at the cut.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import toy
from matrix import Clip, Inventory, Track, distinct, look, make_clip
from matrix_cases import B_FRAMES, CASES, DEPTHS, OPUS, Case

from patchvsr.errors import OutputError
from patchvsr.events import Finished, Planned, Started
from patchvsr.jobs.clip import RestoredClip
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.identity import job_identity, machine_identity
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.plan import cut_chunks
from patchvsr.jobs.prepare import prepare
from patchvsr.jobs.scan import scan_all
from patchvsr.media import open_reader
from patchvsr.pixels.size import Size
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

SAME_LANGUAGE = [{"deu", "ger"}, {"fra", "fre"}]


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


def begin(source: Path, target: Path, config: UpscaleSettings, pipeline, *, unit_frames: int = 8) -> None:
    """Makes a job as an interrupted run leaves it, before its first unit is done; `upscale` goes on there."""
    _, size, output, _ = prepare(source, target, config)
    with open_reader(source, config.read) as reader:
        scanned = scan_all(reader)
    folder = JobFolder(target)
    restore = pipeline.resolve(config.restore)
    identity = job_identity(source, config.read, restore, size, output.profile, machine_identity(pipeline))
    with folder.locked():
        folder.write_manifest(Manifest(identity, scanned, restore.chunk_frames, restore.overlap_frames, unit_frames))


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
    case = Case(Clip(codec="ffv1", pix_fmt=pix_fmt), ".mkv", "ffv1", settings=dict(restoration=0.5))
    source, target, events = run(case, tmp_path, pipeline)
    assert next(event for event in events if isinstance(event, Planned)).units >= 3
    restore = pipeline.resolve(case.config().restore)
    with open_reader(source) as reader:
        frames = list(reader)
    cuts = [range(12), range(12, 24)]
    expected, state = [], None
    for chunk in cut_chunks(cuts, restore.chunk_frames, restore.overlap_frames):
        clip = frames[chunk.start : chunk.stop]
        restored = RestoredClip(
            pipeline, restore, Size(64, 64), clip, place=chunk.place,
            previous=state if chunk.shared else None,
        )  # fmt: skip
        expected += [frame.rgb for frame in restored]
        state = restored.state
    with open_reader(target) as reader:
        written = [frame.rgb for frame in reader]
    assert len(written) == len(expected) == len(frames)
    assert all(np.array_equal(a, b) for a, b in zip(written, expected, strict=True))


@pytest.mark.parametrize(("codec", "scale"), [("dnxhr", 4), ("prores", 2)])
@pytest.mark.parametrize("color", [dict(colorspace=5), dict(color_range=2, colorspace=9)])
def test_codecs_with_fixed_colours_get_their_own(tmp_path, pipeline, codec, scale, color):
    """DNxHR has one matrix here and ProRes one range: whoever goes by that must see the colours of the source."""
    clip = Clip(codec="libx264", pix_fmt="yuv444p", options={"crf": "0"}, color=color, side=64)
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
    (replace(B_FRAMES, side=64), ".mkv", "dnxhr", "matroska cannot hold dnxhd video; use .mov"),
    (B_FRAMES, ".webm", "h264", "webm cannot hold libx264 video; use .mkv"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_the_work(tmp_path, pipeline, clip, target, codec, words):
    with pytest.raises(OutputError, match=words):
        list(upscale(make_clip(clip, tmp_path), tmp_path / f"out{target}", Case(clip, target, codec, scale=4).config(),
                     pipeline=pipeline))  # fmt: skip
    assert not list(tmp_path.glob("out*"))
