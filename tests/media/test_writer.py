"""Writing: exact times, untouched streams, kept tags, reproducible bytes, nothing half-finished."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import irregular_pts, make_video, packets, picture, video_times

from patchvsr.errors import OutputError, SettingsError
from patchvsr.media import EncodeSettings, Frame, open_reader, open_writer, probe
from patchvsr.media.settings import ReadSettings
from patchvsr.pixels.size import Size

FAST = {"h264": {"preset": "ultrafast"}, "hevc": {"preset": "ultrafast"}, "av1": {"preset": "11"}, "ffv1": {}}


def copy(source: Path, target: Path, *, codec: str = "h264", **settings) -> Path:
    """Decode and encode a whole file at its own size."""
    read = ReadSettings(**{name: settings.pop(name) for name in ("start_s", "end_s") if name in settings})
    chosen = EncodeSettings(codec, encoder_options={**FAST.get(codec, {}), **settings.pop("options", {})}, **settings)
    with open_reader(source, read) as reader:
        info = reader.info
        size = Size(info.width, info.height)
        with open_writer(target, source=info, size=size, settings=chosen, read=read) as writer:
            for frame in reader:
                writer.write(frame)
    return target


def leftovers(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir() if "partial" in f.name)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_irregular_time_survives(tmp_path, codec, suffix):
    source = make_video(tmp_path / "in.mkv", pts=irregular_pts(60))
    options = {"preset": "medium"} if codec == "h264" else {}  # with B-frames
    out = copy(source, tmp_path / f"out{suffix}", codec=codec, options=options)
    assert video_times(out) == [Fraction(p, 1000) for p in irregular_pts(60)]


def test_mp4_times_are_exact_on_any_clock(tmp_path):
    base = Fraction(1001, 30000)
    source = make_video(tmp_path / "in.mp4", time_base=base, pts=[0, 1, 2, 5, 6, 9, 10, 11])
    out = copy(source, tmp_path / "out.mp4")
    assert video_times(out) == video_times(source) == [p * base for p in (0, 1, 2, 5, 6, 9, 10, 11)]
    frames = list(open_reader(out))
    assert [f.duration * f.time_base for f in frames[:-1]] == [n * base for n in (1, 1, 3, 1, 3, 1, 1)]
    matroska = copy(source, tmp_path / "out.mkv")
    for given, muxed in zip(video_times(source), video_times(matroska), strict=True):
        assert abs(given - muxed) <= Fraction(1, 2000)


@pytest.mark.parametrize("preset", ["medium", "ultrafast"])
def test_mp4_lasts_as_long_as_its_frames(tmp_path, preset):
    source = make_video(tmp_path / "in.mkv", pts=[0, 40, 90, 107, 300, 333, 350, 400])
    info, out = probe(source), tmp_path / "out.mp4"
    settings = EncodeSettings(encoder_options={"preset": preset})
    with (
        open_reader(source) as reader,
        open_writer(out, source=info, size=Size(64, 64), settings=settings) as writer,
    ):
        for frame in reader:
            writer.write(Frame(frame.rgb, frame.pts, 77 if frame.pts == 400 else frame.duration, frame.time_base))
    with av.open(str(out)) as container:
        assert Fraction(container.duration, av.time_base) == Fraction(477, 1000)


def write_gaps(path: Path, durations: list[int], base: Fraction = Fraction(1, 1000), **options: str) -> Path:
    """Frames that follow each other after the given ticks, with the default encoder, that is with B-frames."""
    source = make_video(path.with_name("source.mkv"), count=2)
    info = replace(probe(source), time_base=base)
    settings = EncodeSettings(encoder_options=options)
    with open_writer(path, source=info, size=Size(64, 64), settings=settings) as writer:
        for index, duration in enumerate(durations):
            writer.write(Frame(picture(index), sum(durations[:index]), duration, base))
    return path


def test_mp4_is_not_cut_short_when_the_last_frame_is_decoded_last(tmp_path):
    durations = [200, 200, 40, 40, 40, 40, 40, 40, 40]
    options = {"x264-params": "no-mbtree=0"}  # with the tree, the encoder decides on the order that this is about
    with av.open(str(write_gaps(tmp_path / "out.mp4", durations, **options))) as container:
        times = [p.pts for p in container.demux(video=0) if p.size]
        assert times != sorted(times) and times[-1] == max(times)
        assert Fraction(container.duration, av.time_base) == Fraction(sum(durations), 1000)


@pytest.mark.parametrize("count", [7, 19, 20, 31])
def test_last_duration_is_exact_on_a_clock_without_milliseconds(tmp_path, count):
    base = Fraction(1001, 30000)
    out = write_gaps(tmp_path / "out.mp4", [1] * count, base)
    assert [f.duration * f.time_base for f in open_reader(out)] == [base] * count


@pytest.mark.parametrize("last", [5, 77, 5000])
@pytest.mark.parametrize("b_frames", [True, False])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_every_duration_survives(tmp_path, suffix, b_frames, last):
    pts = irregular_pts(20)
    durations = [b - a for a, b in pairwise(pts)] + [last]
    out = write_gaps(tmp_path / f"out{suffix}", durations, **({} if b_frames else {"bf": "0"}))

    def ms(ticks: int, base: Fraction) -> Fraction:
        return ticks * base * 1000

    with open_reader(out) as reader:
        frames = list(reader)
    assert [ms(f.pts, f.time_base) for f in frames] == pts
    assert [ms(f.duration, f.time_base) for f in frames] == durations
    with av.open(str(out)) as container:
        decoded = [ms(f.duration, f.time_base) for f in container.decode(video=0)]
    with av.open(str(out)) as container:
        muxed = [p for p in container.demux(video=0) if p.size]
    assert b_frames == ([p.pts for p in muxed] != sorted(p.pts for p in muxed))
    if suffix == ".mkv" or not b_frames:
        assert decoded == durations
    else:  # MP4 has no durations, see VideoWriter: what a decoder reports are the steps between decoding times
        assert [p.duration for p in muxed[:-1]] == [b.dts - a.dts for a, b in pairwise(muxed)]
        assert sum(decoded) == sum(durations) and decoded != durations


def test_video_need_not_be_the_first_stream(tmp_path):
    clip = make_video(tmp_path / "clip.mkv", audio=True, options={"preset": "medium"})
    with av.open(str(clip)) as src, av.open(str(tmp_path / "in.mkv"), "w") as dst:
        order = [src.streams.audio[0], src.streams.video[0]]
        targets = {s.index: dst.add_stream_from_template(s, opaque=True) for s in order}
        for packet in src.demux(order):
            if packet.size:
                packet.stream = targets[packet.stream.index]
                dst.mux(packet)
    out = copy(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert video_times(out) == video_times(clip) and packets(out, "audio") == packets(clip, "audio")


def test_other_streams_are_copied_bit_for_bit(clip, tmp_path):
    out = copy(clip, tmp_path / "out.mkv")
    for kind in ("audio", "subtitle"):
        assert packets(out, kind) == packets(clip, kind) and packets(out, kind)
    info = probe(out)
    assert [(s.type, s.language) for s in info.streams] == [(s.type, s.language) for s in probe(clip).streams]
    with av.open(str(out)) as container:
        assert container.metadata["title"] == "A title"


def test_chapters_and_attachments_are_kept(tmp_path):
    source = make_video(tmp_path / "in.mkv", chapters=True, attachment=True)
    out = copy(source, tmp_path / "out.mkv")
    with av.open(str(source)) as before, av.open(str(out)) as after:
        assert [(c["start"], c["metadata"]) for c in after.chapters()] == [
            (c["start"], c["metadata"]) for c in before.chapters()
        ]
        fonts = [s for s in after.streams if s.type == "attachment"]
        assert [f.data for f in fonts] == [b"not really a font"]


def test_packets_are_interleaved(tmp_path):
    source = make_video(tmp_path / "in.mkv", count=100, audio=True)
    out = copy(source, tmp_path / "out.mkv")
    with av.open(str(out)) as container:
        order = [p.dts * p.time_base for p in container.demux() if p.size]
    assert max(a - b for a, b in pairwise(order)) < Fraction(1, 10)


def test_range_moves_everything_to_zero(tmp_path):
    source = make_video(tmp_path / "in.mkv", count=100, audio=True, subtitles=True)
    out = copy(source, tmp_path / "out.mkv", start_s=1.2, end_s=2.4)
    assert video_times(out) == [Fraction(i * 40, 1000) for i in range(30)]
    inside = [p for p in packets(source, "audio") if Fraction("1.2") <= p[0] < Fraction("2.4")]
    assert packets(out, "audio") == [(t - Fraction("1.2"), d, digest) for t, d, digest in inside]
    assert [t for t, _, _ in packets(out, "subtitle")] == [Fraction("0.3")]


def test_stream_that_does_not_fit_is_named_before_the_first_frame(clip, tmp_path):
    info = probe(clip)
    with pytest.raises(OutputError, match=r"stream 1 \(audio.*deu\).*webm.*use \.mkv"):
        open_writer(tmp_path / "out.webm", source=info, size=Size(64, 64), settings=EncodeSettings("av1"))
    with pytest.raises(OutputError, match=r"webm cannot hold ffv1 video; use \.mkv"):
        open_writer(tmp_path / "out.webm", source=info, size=Size(64, 64), settings=EncodeSettings("ffv1"))
    with pytest.raises(OutputError, match=r"\.mov cannot hold libvpx-vp9 video; use \.mkv"):
        open_writer(tmp_path / "out.mov", source=info, size=Size(64, 64), settings=EncodeSettings("vp9"))
    assert not list(tmp_path.glob("*out*")) and not leftovers(tmp_path)
    out = copy(clip, tmp_path / "out.mp4", skip_streams=[2])
    assert [(t, digest) for t, _, digest in packets(out, "audio")] == [
        (t, digest) for t, _, digest in packets(clip, "audio")
    ]


@pytest.mark.parametrize("index", [0, 9])
def test_a_stream_to_leave_out_that_is_the_video_or_not_there_is_refused(clip, tmp_path, index):
    info, settings = probe(clip), EncodeSettings(skip_streams=(index,))
    assert info.video_index == 0
    with pytest.raises(SettingsError, match=f"stream {index} of .* cannot be left out: the streams .* are 1, 2"):
        open_writer(tmp_path / "out.mkv", source=info, size=Size(64, 64), settings=settings)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_color_shape_and_rotation_are_kept(tmp_path, suffix, codec):
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    source = make_video(
        tmp_path / "in.mkv", tags=tags, sample_aspect_ratio=Fraction(4, 3), rotation=90, pix_fmt="yuv420p10le"
    )
    before, after = probe(source), probe(copy(source, tmp_path / f"out{suffix}", codec=codec))
    assert after.stored_color == before.stored_color == before.color
    assert after.sample_aspect_ratio == before.sample_aspect_ratio == Fraction(4, 3)
    assert after.rotation == before.rotation == 90
    assert after.pix_fmt == "yuv420p10le"


def test_a_matrix_that_was_assumed_is_written_down(tmp_path):
    source = make_video(tmp_path / "in.mp4", count=3)
    info = probe(source)
    out = tmp_path / "out.mp4"
    with open_writer(out, source=info, size=Size(1280, 720)) as writer:
        writer.write(Frame(picture(0, 1280, 720), 0, None, info.time_base))
    assert (info.stored_color.matrix, probe(out).stored_color.matrix) == (2, 6)


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv420p10le"])
@pytest.mark.parametrize("codec", ["h264", "ffv1", "av1"])
def test_colors_stay_in_place(tmp_path, color_range, pix_fmt, codec):
    """Matrix, range and the place of chroma agree between reading and writing."""
    if codec == "av1" and pix_fmt == "yuv422p":
        pytest.skip("SVT-AV1 has no 4:2:2")
    tags = {"colorspace": 1, "color_range": color_range}
    source = make_video(tmp_path / "in.mkv", tags=tags, count=3, pix_fmt=pix_fmt, options={"crf": "1"})
    crf = None if codec == "ffv1" else 1
    out = copy(source, tmp_path / "out.mkv", codec=codec, pix_fmt=pix_fmt, crf=crf)
    assert probe(out).stored_color.range == color_range
    for a, b in zip(open_reader(source), open_reader(out), strict=True):
        error = np.abs(a.rgb.astype(int) - b.rgb) / np.iinfo(a.rgb.dtype).max * 255
        assert error.mean() < 1.5  # chroma moved by half a pixel gives 2.5


@pytest.mark.parametrize(("dtype", "codec"), [(np.uint8, "ffv1"), (np.uint16, "ffv1")])
def test_ffv1_is_lossless(tmp_path, dtype, codec):
    deep = dtype is np.uint16
    source = make_video(tmp_path / "in.mkv", pix_fmt="yuv420p10le" if deep else "yuv420p", count=2)
    info = probe(source)
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (4, 33, 47, 3)).astype(dtype)
    with open_writer(tmp_path / "out.mkv", source=info, size=Size(47, 33), settings=EncodeSettings(codec)) as writer:
        for i, rgb in enumerate(noise):
            writer.write(Frame(rgb, i * 40, 40, info.time_base))
    got = [f.rgb for f in open_reader(tmp_path / "out.mkv")]
    assert np.array_equal(np.stack(got), noise) and got[0].dtype == dtype


def test_ten_bits_stay_ten_bits(tmp_path):
    source = make_video(tmp_path / "in.mkv", pix_fmt="yuv420p10le", count=2)
    info = probe(source)
    ramp = np.broadcast_to(np.linspace(0, 65535, 1024).astype(np.uint16)[None, :, None], (64, 1024, 3))
    settings = EncodeSettings("hevc", crf=0, encoder_options=FAST["hevc"])
    with open_writer(tmp_path / "out.mkv", source=info, size=Size(1024, 64), settings=settings) as writer:
        writer.write(Frame(ramp, 0, 40, info.time_base))
    got = next(iter(open_reader(tmp_path / "out.mkv"))).rgb
    assert probe(tmp_path / "out.mkv").bit_depth == 10
    assert len(np.unique(got[32, :, 1])) > 600
    assert np.abs(got.astype(int) - ramp).max() < 65535 / 876 * 3


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "ffv1"])
def test_same_input_gives_same_bytes_on_any_number_of_cores(tmp_path, codec):
    source = make_video(tmp_path / "in.mkv", count=20, audio=True, subtitles=True, size=(128, 128))
    cores = os.sched_getaffinity(0)
    first = copy(source, tmp_path / "a.mkv", codec=codec).read_bytes()
    try:
        os.sched_setaffinity(0, {min(cores)})
        second = copy(source, tmp_path / "b.mkv", codec=codec).read_bytes()
    finally:
        os.sched_setaffinity(0, cores)
    assert first == second


def test_existing_output_is_refused_and_the_input_never_overwritten(clip, tmp_path):
    out = copy(clip, tmp_path / "out.mkv")
    before = out.read_bytes()
    info = probe(clip)
    with pytest.raises(OutputError, match="already exists"):
        open_writer(out, source=info, size=Size(64, 64))
    with pytest.raises(OutputError, match="is the input"):
        open_writer(clip, source=info, size=Size(64, 64), settings=EncodeSettings(overwrite=True))
    assert out.read_bytes() == before
    assert copy(clip, out, overwrite=True).read_bytes() == before


def test_unfinished_work_leaves_nothing(clip, tmp_path):
    info = probe(clip)
    folder = tmp_path / "new" / "deep"
    with (
        pytest.raises(RuntimeError),
        open_writer(folder / "out.mkv", source=info, size=Size(64, 64)) as writer,
    ):
        writer.write(Frame(picture(0), 0, 40, info.time_base))
        assert not (folder / "out.mkv").exists()
        raise RuntimeError("stop")
    assert not list(folder.iterdir())
    writer = open_writer(folder / "out.mkv", source=info, size=Size(64, 64))
    writer.abort()
    with (
        pytest.raises(OutputError, match="no frame"),
        open_writer(folder / "out.mkv", source=info, size=Size(64, 64)),
    ):
        pass
    assert not list(folder.iterdir())


def test_overwriting_keeps_the_old_file_until_the_new_one_is_complete(clip, tmp_path):
    out = copy(clip, tmp_path / "out.mkv")
    before = out.read_bytes()
    with (
        pytest.raises(RuntimeError),
        open_writer(out, source=probe(clip), size=Size(64, 64), settings=EncodeSettings(overwrite=True)) as writer,
    ):
        writer.write(Frame(picture(0), 0, 40, Fraction(1, 1000)))
        raise RuntimeError("stop")
    assert out.read_bytes() == before and not leftovers(tmp_path)


FULL_DISK = """
import resource, sys, numpy as np
from patchvsr.errors import OutputError
from patchvsr.media import EncodeSettings, Frame, open_writer, probe
from patchvsr.pixels.size import Size
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
info = probe(sys.argv[1])
rng = np.random.default_rng(0)
try:
    settings = EncodeSettings("ffv1")
    with open_writer(sys.argv[2], source=info, size=Size(256, 256), settings=settings) as writer:
        for i in range(30):
            writer.write(Frame(rng.integers(0, 256, (256, 256, 3), np.uint8), i * 40, 40, info.time_base))
except OutputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("name", ["out.mkv", "out"])
def test_full_disk_is_one_line_and_leaves_nothing(clip, tmp_path, name):
    """A limit on the size of files stands for the disk; PNGs are too small to reach it."""
    folder = tmp_path / "disk"
    limit = str(resource.getrlimit(resource.RLIMIT_FSIZE)[0])
    code = FULL_DISK if name != "out" else FULL_DISK.replace("200_000, 200_000", "20_000, 20_000")
    done = subprocess.run(
        [sys.executable, "-c", code, str(clip), str(folder / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, (limit, done.stderr)
    assert "free some space" in done.stdout and done.stdout.count("\n") == 1
    assert not [f for f in folder.rglob("*") if f.is_file()]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (EncodeSettings("nonsense"), "h264, hevc, av1, ffv1"),
        (EncodeSettings(pix_fmt="bgr0"), "use yuv420p"),
        (EncodeSettings(pix_fmt="nonsense"), "use yuv420p"),
        (EncodeSettings(encoder_options={"presett": "slow"}), "preset"),
        (EncodeSettings(encoder_options={"preset": "nonsense"}), "preset=nonsense"),
        (EncodeSettings("ffv1", crf=3), "lossless"),
        (EncodeSettings(pix_fmt="yuv420p"), "yuv444p"),
        (EncodeSettings("av1"), "even sizes"),
    ],
)
def test_wrong_settings_say_what_works(clip, tmp_path, settings, words):
    size = 65 if words in ("yuv444p", "even sizes") else 64
    with pytest.raises(SettingsError, match=words) as caught:
        open_writer(tmp_path / "out.mkv", source=probe(clip), size=Size(size, size), settings=settings)
    assert "\n" not in str(caught.value) and not leftovers(tmp_path)


def test_odd_sizes_fall_back_to_full_chroma(clip, tmp_path):
    info = probe(clip)
    with open_writer(tmp_path / "out.mkv", source=info, size=Size(65, 63)) as writer:
        writer.write(Frame(picture(0, 65, 63), 0, 40, info.time_base))
    after = probe(tmp_path / "out.mkv")
    assert (after.width, after.height, after.pix_fmt) == (65, 63, "yuv444p")


def test_unknown_container_and_impossible_size(clip, tmp_path):
    with pytest.raises(OutputError, match=r"use \.mkv"):
        open_writer(tmp_path / "out.xyz", source=probe(clip), size=Size(64, 64))
    with pytest.raises(SettingsError, match="too small"):
        open_writer(tmp_path / "o.mkv", source=probe(clip), size=Size(48, 48), settings=EncodeSettings("hevc"))


def test_frames_out_of_order_or_of_another_size_are_bugs(clip, tmp_path):
    info = probe(clip)
    with (
        pytest.raises(ValueError, match="not after"),
        open_writer(tmp_path / "out.mkv", source=info, size=Size(64, 64)) as writer,
    ):
        writer.write(Frame(picture(0), 40, 40, info.time_base))
        writer.write(Frame(picture(0), 40, 40, info.time_base))
    with (
        pytest.raises(ValueError, match="opened for"),
        open_writer(tmp_path / "out.mkv", source=info, size=Size(64, 64)) as writer,
    ):
        writer.write(Frame(picture(0, 32, 32), 0, 40, info.time_base))
    assert not (tmp_path / "out.mkv").exists()
