"""Reading: exact frames and times, exact ranges, and refusal of what is broken."""

from __future__ import annotations

import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import irregular_pts, make_video

from patchvsr.errors import InputError, SettingsError
from patchvsr.media import open_reader, probe


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
    with open_reader(path, start_s=start, end_s=end) as reader:
        got = list(reader)
    assert [f.pts for f in got] == [f.pts for f in expected] and got
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(got, expected, strict=True))


def test_late_range_seeks_to_the_right_frames(tmp_path):
    path = make_video(tmp_path / "a.mkv", pts=irregular_pts(300), options={"g": "30"})
    with open_reader(path) as reader:
        expected = [(f.pts, f.rgb.sum()) for f in reader if f.time_s >= Fraction("9.5")]
    with open_reader(path, start_s=9.5) as reader:
        assert [(f.pts, f.rgb.sum()) for f in reader] == expected


def test_impossible_ranges(clip):
    for start, end in [(-1, None), (2, 1), (1, 1), (None, 0)]:
        with pytest.raises(SettingsError):
            open_reader(clip, start_s=start, end_s=end)
    with pytest.raises(InputError, match=r"last frame is at 0\.960 s"):
        list(open_reader(clip, start_s=30))


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


def _remux(source, target, options):
    with av.open(str(source)) as src, av.open(str(target), "w", container_options=options) as dst:
        stream = dst.add_stream_from_template(src.streams.video[0], opaque=True)
        for packet in src.demux(video=0):
            if packet.size:
                packet.stream = stream
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
