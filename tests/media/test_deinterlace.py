"""Interlaced video: refused with advice, or made whole with exact counts and times."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.filter import Graph
from clips import make_video

from patchvsr.errors import InputError, SettingsError
from patchvsr.media import open_reader, probe
from patchvsr.media.settings import ReadSettings

COUNT = 12

# name, codec, encoder options, top field first?
KINDS = [
    ("mbaff.mkv", "libx264", {}, True),
    ("mbaff-bottom.mp4", "libx264", {}, False),
    ("mpeg2.ts", "mpeg2video", {}, True),
    ("mpeg2-bottom.mkv", "mpeg2video", {}, False),
]


@pytest.mark.parametrize(("name", "codec", "options", "top_first"), KINDS)
def test_interlaced_video_is_refused_with_advice(tmp_path, name, codec, options, top_first):
    path = make_interlaced(tmp_path / name, codec, options, top_first)
    assert probe(path).interlaced
    with pytest.raises(InputError, match=r"is interlaced: add --deinterlace frame .*--deinterlace field"):
        open_reader(path)


@pytest.mark.parametrize(("name", "codec", "options", "top_first"), KINDS)
def test_one_frame_for_each_frame_at_its_time(tmp_path, name, codec, options, top_first):
    path = make_interlaced(tmp_path / name, codec, options, top_first)
    stored = list(open_reader(path, ReadSettings(deinterlace="off")))
    frames = list(reader := open_reader(path, ReadSettings(deinterlace="frame")))
    assert not reader.info.interlaced and len(frames) == COUNT
    assert [(f.pts, f.duration, f.time_base) for f in frames] == [(f.pts, f.duration, f.time_base) for f in stored]
    assert not np.array_equal(frames[5].rgb, stored[5].rgb)


@pytest.mark.parametrize(("name", "codec", "options", "top_first"), KINDS)
def test_one_frame_for_each_field_in_the_order_of_time(tmp_path, name, codec, options, top_first):
    path = make_interlaced(tmp_path / name, codec, options, top_first)
    info = probe(path)
    with open_reader(path, ReadSettings(deinterlace="field")) as reader:
        frames = list(reader)
        assert reader.info.time_base == info.time_base / 2
        assert reader.info.start_pts * reader.info.time_base == info.start_pts * info.time_base
        assert reader.info.average_rate == 50 and all(f.time_base == reader.info.time_base for f in frames)
    zero = frames[0].time_s
    assert [f.time_s - zero for f in frames] == [Fraction(i, 50) for i in range(2 * COUNT)]
    assert {f.duration * f.time_base for f in frames} == {Fraction(1, 50)}
    # A bar moves to the right with every field; with the fields exchanged it would go back and forth.
    places = [bar_position(f.rgb) for f in frames[2:-2]]
    assert all(later - earlier > 0.5 for earlier, later in pairwise(places))


def test_variable_frame_rate_keeps_the_middle_between_frames(tmp_path):
    pts = [0, 33, 83, 100, 200, 234]
    path = make_interlaced(tmp_path / "a.mkv", "libx264", {}, True, pts=pts)
    times = [f.time_s for f in open_reader(path, ReadSettings(deinterlace="field"))]
    seconds = [Fraction(p, 1000) for p in pts]
    assert times[::2] == seconds
    assert times[1:-1:2] == [(a + b) / 2 for a, b in pairwise(seconds)]


def test_interlaced_frames_that_come_late_are_refused_with_their_number(tmp_path):
    path = make_mixed(tmp_path, progressive=10)
    assert not probe(path).interlaced
    with pytest.raises(InputError, match=r"is interlaced from frame 10 on \(0\.400 s\)"):
        list(open_reader(path))


def test_progressive_frames_of_a_mixed_video_pass_unchanged(tmp_path):
    path = make_mixed(tmp_path, progressive=10)
    stored = list(open_reader(path, ReadSettings(deinterlace="off")))
    whole = list(open_reader(path, ReadSettings(deinterlace="frame")))
    fields = list(open_reader(path, ReadSettings(deinterlace="field")))
    assert [f.time_s for f in whole] == [f.time_s for f in stored]
    assert len(fields) == 10 + 2 * (len(stored) - 10)
    for deinterlaced in (whole, fields):
        assert [f.time_s for f in deinterlaced[:10]] == [f.time_s for f in stored[:10]]
        assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(deinterlaced[:10], stored[:10], strict=True))


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_progressive_video_stays_as_it_is(clip, mode):
    stored, got = list(open_reader(clip)), list(open_reader(clip, ReadSettings(deinterlace=mode)))
    assert [f.time_s for f in got] == [f.time_s for f in stored]
    assert [f.duration * f.time_base for f in got] == [f.duration * f.time_base for f in stored]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(got, stored, strict=True))


@pytest.mark.parametrize("mode", ["frame", "field"])
@pytest.mark.parametrize("count", [1, 2])
def test_very_short_videos(tmp_path, mode, count):
    path = make_interlaced(tmp_path / "a.mkv", "libx264", {}, True, pts=[40 * i for i in range(count)])
    frames = list(open_reader(path, ReadSettings(deinterlace=mode)))
    assert len(frames) == count * (2 if mode == "field" else 1)
    assert all(a.pts < b.pts for a, b in pairwise(frames))


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_ranges_and_resuming_give_the_frames_of_a_whole_read(tmp_path, mode):
    path = make_interlaced(tmp_path / "a.mkv", "libx264", {"g": "8"}, True, pts=[40 * i for i in range(40)])
    whole = list(open_reader(path, ReadSettings(deinterlace=mode)))
    for index in (0, 1, 2, 9, 17, 33, len(whole) - 1):
        got = list(open_reader(path, ReadSettings(deinterlace=mode), resume_pts=whole[index].pts))
        assert same_frames(got, whole[index:])
    middle = list(open_reader(path, ReadSettings(deinterlace=mode, start_s=0.6, end_s=0.9)))
    assert same_frames(middle, [f for f in whole if Fraction("0.6") <= f.time_s < Fraction("0.9")])


def test_unknown_ways_are_refused(clip, tmp_path):
    with pytest.raises(SettingsError, match="'bob' is unknown; choose from frame, field, off"):
        open_reader(clip, ReadSettings(deinterlace="bob"))
    (tmp_path / "images").mkdir()
    with pytest.raises(SettingsError, match="images have no fields"):
        open_reader(tmp_path / "images", ReadSettings(deinterlace="frame"))


def same_frames(a, b) -> bool:
    return [(f.pts, f.duration) for f in a] == [(f.pts, f.duration) for f in b] and all(
        np.array_equal(x.rgb, y.rgb) for x, y in zip(a, b, strict=True)
    )


def bar(moment: float) -> np.ndarray:
    """(64, 128, 3): a soft bright bar whose place is the moment."""
    x = np.arange(128)
    row = 255 * np.exp(-(((x - 20 - moment * 3) / 6) ** 2))
    return np.repeat(np.repeat(row[None, :, None], 64, 0), 3, 2).astype(np.uint8)


def bar_position(rgb: np.ndarray) -> float:
    weights = np.maximum(rgb[..., 1].astype(float).mean(0) - 40, 0)
    return float((weights * np.arange(len(weights))).sum() / weights.sum())


def make_interlaced(path, codec, options, top_first, pts=None):
    """A bar that moves with every field."""
    time_base = Fraction(1, 1000) if pts else Fraction(1, 25)
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        video.codec_context.time_base = time_base
        video.codec_context.flags |= int(Flags.interlaced_dct | Flags.interlaced_me)
        for index, value in enumerate(pts or range(COUNT)):
            rgb = bar(2 * index + (not top_first))
            rgb[1::2] = bar(2 * index + top_first)[1::2]
            frame = flagged(av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p"), top_first)
            frame.pts, frame.time_base = value, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def flagged(frame, top_first: bool):
    """The frame with the order of its fields: encoders go by that."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("setfield", "tff" if top_first else "bff"), graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull()


def make_mixed(folder, progressive: int):
    """Progressive MPEG-2 followed by interlaced MPEG-2 in one transport stream."""
    rates = {"codec": "mpeg2video", "time_base": Fraction(1, 25), "size": (128, 64)}
    first = make_video(folder / "p.ts", pts=list(range(progressive)), **rates)
    second = make_interlaced(folder / "i.ts", "mpeg2video", {}, True)
    path = folder / "mixed.ts"
    with av.open(str(path), "w") as out:
        stream, offset = None, 0
        for part in (first, second):
            with av.open(str(part)) as source:
                stream = stream or out.add_stream_from_template(source.streams.video[0], opaque=True)
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        packet.stream = stream
                        out.mux(packet)
            offset += progressive * 3600
    return path
