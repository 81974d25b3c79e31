"""Reading: exact frames and times, exact ranges, and refusal of what is broken."""

from __future__ import annotations

import weakref
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import irregular_pts, make_video

from patchvsr.errors import InputError, SettingsError
from patchvsr.media import open_reader, probe
from patchvsr.media.settings import ReadSettings


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_irregular_time_is_kept(tmp_path, suffix):
    pts = irregular_pts(60)
    path = make_video(tmp_path / f"a{suffix}", pts=pts)
    with open_reader(path) as reader:
        frames = list(reader)
    assert [f.time_s for f in frames] == [Fraction(p, 1000) for p in pts]
    assert all(f.rgb.shape == (64, 64, 3) and f.rgb.dtype == np.uint8 for f in frames)


def test_probe_describes_the_file(tmp_path):
    path = make_video(
        tmp_path / "a.mkv",
        audio=True,
        subtitles=True,
        rotation=90,
        sample_aspect_ratio=Fraction(4, 3),
        tags={"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1},
        pix_fmt="yuv420p10le",
        codec="libx265",
        options={"x265-params": "log-level=error"},
    )
    info = probe(path)
    assert (info.width, info.height, info.bit_depth, info.codec) == (64, 64, 10, "hevc")
    assert (info.color.primaries, info.color.transfer, info.color.matrix, info.color.range) == (9, 16, 9, 1)
    assert info.sample_aspect_ratio == Fraction(4, 3) and info.rotation == 90
    assert [(s.type, s.language) for s in info.streams] == [
        ("video", None),
        ("audio", "deu"),
        ("subtitle", "fra"),
    ]


@pytest.mark.parametrize(("height", "matrix"), [(64, 6), (720, 1)])
def test_unspecified_matrix_depends_on_the_height(tmp_path, height, matrix):
    info = probe(make_video(tmp_path / "a.mp4", count=2, size=(16, height)))
    assert info.stored_color.matrix == 2
    assert (info.color.matrix, info.color.range) == (matrix, 1)


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.6), (None, 0.1), (0.9, None), (0.201, 0.25), (0, 5)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_range_selects_exactly(tmp_path, suffix, start, end):
    path = make_video(tmp_path / f"a{suffix}", count=75, time_base=Fraction(1, 25), pts=list(range(75)))
    with open_reader(path) as reader:
        everything = list(reader)
    zero = everything[0].time_s
    low, high = Fraction(str(start or 0)), Fraction(str(end or 1000))
    expected = [f for f in everything if low <= f.time_s - zero < high]
    with open_reader(path, ReadSettings(start_s=start, end_s=end)) as reader:
        got = list(reader)
    assert [f.pts for f in got] == [f.pts for f in expected] and got
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(got, expected, strict=True))


def test_late_range_seeks_to_the_right_frames(tmp_path):
    path = make_video(tmp_path / "a.mkv", pts=irregular_pts(300), options={"g": "30"})
    with open_reader(path) as reader:
        expected = [(f.pts, f.rgb.sum()) for f in reader if f.time_s >= Fraction("9.5")]
    with open_reader(path, ReadSettings(start_s=9.5)) as reader:
        assert [(f.pts, f.rgb.sum()) for f in reader] == expected


CLOSED, OPEN = {"g": "12", "bf": "3"}, {"g": "12", "bf": "3", "x264-params": "open-gop=1"}
REFRESH = {"g": "12", "x264-params": "intra-refresh=1"}  # no key frame but the first one: a column at a time
EVEN = {"time_base": Fraction(1, 25), "pts": list(range(60))}
RESUMED = [
    *((f"closed{suffix}", {"options": CLOSED}, suffix != ".avi") for suffix in (".mkv", ".mp4", ".ts", ".avi")),
    *((f"open{suffix}", {"options": OPEN}, suffix != ".avi") for suffix in (".mkv", ".mp4", ".ts", ".avi")),
    *((f"refresh{suffix}", {"options": REFRESH}, None) for suffix in (".mkv", ".mp4")),
    *((f"one-key{suffix}", {"options": {"g": "999"}}, False) for suffix in (".mkv", ".mp4", ".ts")),
    ("vp9.webm", {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime"}}, True),
    ("mpeg2.ts", {"codec": "mpeg2video", "options": {"bf": "2"}, **EVEN}, True),
    ("raw.h264", {"options": CLOSED}, False),
]


@pytest.mark.parametrize(("name", "making", "can_seek"), RESUMED)
def test_resuming_gives_the_frames_of_a_whole_read(tmp_path, name, making, can_seek):
    timing = EVEN if name.endswith(".avi") else {"pts": irregular_pts(60)}
    path = make_video(tmp_path / name, **{**timing, **making})
    whole = facts(open_reader(path))
    assert len(whole) == 60
    for index in (0, 1, 11, 12, 13, 25, 36, 47, 59):
        assert facts(open_reader(path, resume_pts=whole[index][0])) == whole[index:]
    late = open_reader(path, resume_pts=whole[59][0])
    next(late)
    assert can_seek is None or late._decoder.sought == can_seek  # None: up to the decoder
    assert facts(open_reader(path, resume_pts=whole[40][0], seek=False)) == whole[40:]


def test_resuming_inside_a_range(tmp_path):
    path = make_video(tmp_path / "a.mkv", count=75, options={"g": "10"})
    with open_reader(path, ReadSettings(start_s=0.4, end_s=2), resume_pts=1600) as reader:
        assert [f.pts for f in reader] == list(range(1600, 2000, 40))
    for missing in (1601, 360):  # between two frames; before the range
        with pytest.raises(InputError, match=f"no frame at tick {missing} to resume from"):
            list(open_reader(path, ReadSettings(start_s=0.4), resume_pts=missing))


def facts(reader) -> list[tuple]:
    with reader:
        return [(f.pts, f.duration, zlib.crc32(f.rgb.tobytes())) for f in reader]


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(60000, 1001)])
@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_broadcast_rates_are_exact(tmp_path, rate, suffix):
    path = make_video(tmp_path / f"a{suffix}", pts=list(range(30)), time_base=1 / rate)
    times = [f.time_s for f in open_reader(path)]
    tolerance = 0 if suffix == ".mp4" else Fraction(1, 90000)  # the clock of a transport stream
    assert all(abs(t - times[0] - i / rate) <= tolerance for i, t in enumerate(times)) and len(times) == 30


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_drop_outs_are_kept(tmp_path, suffix):
    pts = [*range(0, 400, 40), *range(5000, 5400, 40)]
    times = [f.time_s for f in open_reader(make_video(tmp_path / f"a{suffix}", pts=pts))]
    assert [t - times[0] for t in times] == [Fraction(p, 1000) for p in pts]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".avi"])
def test_a_single_frame(tmp_path, suffix):
    assert len(list(open_reader(make_video(tmp_path / f"a{suffix}", pts=[0], time_base=Fraction(1, 25))))) == 1


def test_an_edit_list_decides_what_is_shown(tmp_path):
    pts = irregular_pts(30)
    path = make_video(tmp_path / "a.mp4", pts=[p - 200 for p in pts])  # the muxer writes an edit that starts at 0
    assert [f.time_s for f in open_reader(path)] == [Fraction(p - 200, 1000) for p in pts if p >= 200]


@pytest.mark.parametrize("moved", [("video",), ("audio",), ("audio", "video")])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_streams_that_start_late_are_whole(tmp_path, moved, suffix):
    pts = irregular_pts(30)
    source = make_video(tmp_path / "a.mp4", pts=pts, audio=True, options={"bf": "3"})
    path = tmp_path / f"late{suffix}"
    _remux(source, path, {}, shift_s=Fraction(1, 2), moved=moved)
    times = [f.time_s for f in open_reader(path)]
    assert [t - times[0] for t in times] == [Fraction(p, 1000) for p in pts]
    # Matroska has no times below 0: all moves together by the lead of the audio encoder.
    assert 0 <= times[0] - (Fraction(1, 2) if "video" in moved else 0) <= (Fraction(0) if suffix == ".mp4" else 0.03)


def test_fragmented_mp4(tmp_path):
    pts = irregular_pts(30)
    source = make_video(tmp_path / "a.mp4", pts=pts, audio=True)
    _remux(source, tmp_path / "b.mp4", {"movflags": "frag_every_frame+empty_moov+delay_moov"})
    assert [f.time_s for f in open_reader(tmp_path / "b.mp4")] == [Fraction(p, 1000) for p in pts]


def test_a_clock_that_wraps(tmp_path):
    source = make_video(tmp_path / "a.ts", count=60, options={"g": "12", "bf": "2"}, audio=True)
    path = tmp_path / "wrap.ts"
    _remux(source, path, {"mpegts_copyts": "1", "muxdelay": "0"}, shift_s=Fraction(2**33, 90000) - 1)
    whole = facts(open_reader(path))
    assert [pts - whole[0][0] for pts, _, _ in whole] == [3600 * i for i in range(60)]
    for index in (10, 40, 55):
        assert facts(open_reader(path, resume_pts=whole[index][0])) == whole[index:]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_recording_that_starts_with_an_open_group(tmp_path, codec):
    options = OPEN if codec == "libx264" else {"g": "12", "bf": "2"}
    source = make_video(tmp_path / "a.mkv", codec=codec, options=options, **EVEN)
    path = tmp_path / "cut.mkv"
    with av.open(str(source)) as src, av.open(str(path), "w") as dst:
        stream, keys = dst.add_stream_from_template(src.streams.video[0], opaque=True), 0
        for packet in src.demux(video=0):
            keys += packet.size > 0 and packet.is_keyframe
            if keys >= 2 and packet.size:
                packet.stream = stream
                dst.mux(packet)
    whole, cut = facts(open_reader(source)), facts(open_reader(path))
    shared = [(pts, crc) for pts, _, crc in whole if pts in {p for p, _, _ in cut}]
    assert len(cut) >= 46 and [(pts, crc) for pts, _, crc in cut] == shared


def test_a_stream_without_a_decoder_does_not_hinder(tmp_path):
    path = make_video(tmp_path / "a.mkv", audio=True)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XXX"))
    info = probe(path)
    assert [s.type for s in info.streams] == ["video", "audio"] and len(list(open_reader(path))) == 25


def test_lost_packets_of_a_transport_stream_are_noticed(tmp_path):
    path = make_video(tmp_path / "a.ts", pts=irregular_pts(60), options=CLOSED)
    data = path.read_bytes()
    middle = len(data) // 2 // 188 * 188
    path.write_bytes(data[:middle] + data[middle + 3 * 188 :])
    with pytest.raises(InputError, match=r"frame \d+, about"):
        list(open_reader(path))


def test_impossible_ranges(clip):
    for start, end in [(-1, None), (2, 1), (1, 1), (None, 0)]:
        with pytest.raises(SettingsError):
            open_reader(clip, ReadSettings(start_s=start, end_s=end))
    with pytest.raises(InputError, match=r"last frame is at 0\.960 s"):
        list(open_reader(clip, ReadSettings(start_s=30)))


def test_frames_without_times_are_counted_up(tmp_path):
    path = make_video(tmp_path / "a.h264", count=10)
    with open_reader(path) as reader:
        times = [float(f.time_s - 0) for f in reader]
    assert np.allclose(np.diff(times), 0.04)


def test_only_a_few_frames_are_alive(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=300)
    alive, most = weakref.WeakSet(), 0
    with open_reader(path) as reader:
        for frame in reader:
            alive.add(frame)
            most = max(most, len(alive))
    assert most <= 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.8])
def test_truncated_file_is_refused_with_the_place(tmp_path, suffix, keep):
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    path = make_video(tmp_path / f"whole{suffix}", count=100, time_base=Fraction(1, 25), pts=list(range(100)))
    if options:
        _remux(path, tmp_path / "fast.mp4", options)
        path = tmp_path / "fast.mp4"
    data = path.read_bytes()
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=r"broken.*(frame \d+|damaged)"), open_reader(broken) as reader:
        list(reader)


def test_damaged_data_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=60, options={"g": "10"})
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    start, size = places[30]
    data[start : start + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"frame \d+, about [01]\.\d+ s"), open_reader(path) as reader:
        list(reader)


def test_what_is_not_a_video_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 50)
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.png").write_bytes(b"no image")
    _make_audio(tmp_path / "sound.m4a")
    for name in (
        "text.mp4",
        "empty.mkv",
        "folder",
        "sound.m4a",
        "missing.mp4",
        "missing/%04d.png",
        "bad.png",
    ):
        for opened in (probe, open_reader):
            with pytest.raises(InputError) as caught:
                opened(tmp_path / name)
            assert "\n" not in str(caught.value) and name.split("/")[0] in str(caught.value)


def test_cover_art_is_not_the_video(tmp_path):
    _make_audio(tmp_path / "cover.m4a", cover=True)
    assert any(s.type == "video" for s in av.open(str(tmp_path / "cover.m4a")).streams)
    with pytest.raises(InputError, match="no video stream"):
        probe(tmp_path / "cover.m4a")


def test_names_that_look_like_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_video(tmp_path / "a b ü.mp4", count=3).rename(tmp_path / "12:30 ü.mp4")
    assert len(list(open_reader(path.name))) == 3


def _remux(source, target, options, shift_s=Fraction(0), moved=("video", "audio")):
    """Copy the packets, those of the `moved` streams later in time."""
    with av.open(str(source)) as src, av.open(str(target), "w", container_options=options) as dst:
        streams = {s.index: dst.add_stream_from_template(s, opaque=True) for s in src.streams}
        for packet in src.demux():
            if packet.size:
                if packet.stream.type in moved:
                    ticks = round(shift_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = streams[packet.stream.index]
                dst.mux(packet)


def _make_audio(path, cover: bool = False) -> None:
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48000)
        art = None
        if cover:
            art = out.add_stream("png")
            art.width = art.height = 16
            art.pix_fmt = "rgb24"
            art.disposition = av.stream.Disposition.attached_pic
        wave = np.zeros((2, 1024), np.float32)
        for i in range(10):
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 48000, i * 1024
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        if art is not None:
            image = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            out.mux(art.encode(image))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mkv", "ffconcat version 1.0\nfile in.mkv\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nin.ts\n#EXT-X-ENDLIST\n"),
    ],
)
def test_a_list_of_other_files_is_refused(tmp_path, name, text):
    make_video(tmp_path / "in.mkv", count=3)
    make_video(tmp_path / "in.ts", count=3)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"is a list of other files .*; give a file that holds the video"):
        probe(tmp_path / name)
