"""Every named encoder: its default, its depth, and the same bytes and headers each time."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import make_video, picture

from patchvsr.errors import SettingsError
from patchvsr.media.color import ColorConverter
from patchvsr.media.encoders import (
    choose_encoder,
    default_codec,
    encoder_notices,
    open_encoder,
    tag_frame,
)
from patchvsr.media.probe import probe
from patchvsr.media.settings import EncodeSettings
from patchvsr.pixels.size import Size

NAMES = ["h264", "hevc", "h265", "av1", "vp9", "prores", "dnxhr", "ffv1"]
SIDE = 256


@pytest.fixture
def source(tmp_path):
    return probe(make_video(tmp_path / "in.mkv", count=2, pix_fmt="yuv420p10le"))


def encode(settings: EncodeSettings, source) -> tuple[bytes, list[bytes]]:
    """The header and the packets of twelve frames, from an encoder of its own."""
    encoder = choose_encoder(settings, source, Size(SIDE, SIDE))
    converter = ColorConverter(source.color)
    with av.open(os.devnull, "w", format="mov" if encoder.name == "dnxhd" else "matroska") as out:
        stream = out.add_stream(encoder.name, rate=25)
        open_encoder(stream, encoder, source, Size(SIDE, SIDE))
        packets = []
        for index in range(12):
            frame = converter.from_rgb(picture(index, SIDE, SIDE), encoder.pix_fmt)
            tag_frame(frame, encoder, source)
            frame.pts, frame.time_base = index * 40, Fraction(1, 1000)
            packets += [bytes(p) for p in stream.encode(frame)]
        packets += [bytes(p) for p in stream.encode(None)]
        return stream.codec_context.extradata or b"", packets


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_writes_the_same_twice_on_any_number_of_cores(source, name):
    cores = os.sched_getaffinity(0)
    first = encode(EncodeSettings(name), source)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert encode(EncodeSettings(name), source) == first
    finally:
        os.sched_setaffinity(0, cores)
    assert len(first[1]) == 12


@pytest.mark.parametrize(
    ("output", "codec"),
    [("a.webm", "av1"), ("A.WEBM", "av1"), ("a.mov", "libx264"), ("a.mp4", "libx264"), ("a.mkv", "libx264")],
)
def test_the_output_decides_where_nothing_is_chosen(source, output, codec):
    assert default_codec(output) == codec
    expected = {"av1": "libsvtav1"}.get(codec, codec)
    assert choose_encoder(EncodeSettings(), source, Size(64, 64), output=output).name == expected
    assert choose_encoder(EncodeSettings("ffv1"), source, Size(64, 64), output=output).name == "ffv1"


@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("h264", ["yuv420p", "yuv420p10le", "yuv420p10le", "yuv420p10le"]),
        ("hevc", ["yuv420p", "yuv420p10le", "yuv420p12le", "yuv420p12le"]),
        ("av1", ["yuv420p", "yuv420p10le", "yuv420p10le", "yuv420p10le"]),
        ("prores", ["yuv422p10le"] * 4),
        ("dnxhr", ["yuv422p", "yuv422p10le", "yuv422p10le", "yuv422p10le"]),
        ("ffv1", ["bgr0", "gbrp16le", "gbrp16le", "gbrp16le"]),
    ],
)
def test_depth_follows_the_source_and_losses_are_told(source, name, formats):
    depths = [8, 10, 12, 16]
    for depth, expected in zip(depths, formats, strict=True):
        deep = replace(source, bit_depth=depth)
        encoder = choose_encoder(EncodeSettings(name), deep, Size(SIDE, SIDE))
        assert encoder.pix_fmt == expected
        kept = {"yuv420p": 8, "yuv422p": 8, "bgr0": 8, "yuv420p12le": 12, "gbrp16le": 16}.get(expected, 10)
        told = [f"reduced: {depth} bits a component are encoded as {kept} ({encoder.name})"] if kept < depth else []
        assert encoder_notices(encoder, deep) == told


def test_prores_takes_its_profile_from_the_pixels(source, tmp_path):
    for pix_fmt, profile in (("yuv422p10le", "HQ"), ("yuv444p10le", "4444"), ("yuva444p10le", "4444")):
        _, packets = encode(EncodeSettings("prores", pix_fmt=pix_fmt), source)
        with av.open(str(tmp_path / "out.mov"), "w") as out:
            stream = out.add_stream("prores_ks", rate=25)
            open_encoder(
                stream,
                choose_encoder(EncodeSettings("prores", pix_fmt=pix_fmt), source, Size(64, 64)),
                source,
                Size(64, 64),
            )
            frame = av.VideoFrame(64, 64, pix_fmt)
            out.mux([*stream.encode(frame), *stream.encode(None)])
        with av.open(str(tmp_path / "out.mov")) as made:
            assert made.streams.video[0].profile == profile
        assert len(packets) == 12


@pytest.mark.parametrize(("name", "words"), [("prores", "has no crf"), ("dnxhr", "has no crf"), ("ffv1", "lossless")])
def test_a_quality_that_an_encoder_lacks_is_refused(source, name, words):
    with pytest.raises(SettingsError, match=words):
        choose_encoder(EncodeSettings(name, crf=20), source, Size(SIDE, SIDE))


@pytest.mark.parametrize("name", ["exr", "rpza", "gif", "msvideo1", "pbm"])
def test_an_encoder_without_colours_of_8_to_16_bits_is_refused(source, name):
    with pytest.raises(SettingsError, match=f"codec {name} takes only .*: frames have colours of 8 to 16 bits"):
        choose_encoder(EncodeSettings(name), source, Size(SIDE, SIDE))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="SVT-AV1 does it to root alone")
def test_svt_av1_makes_no_thread_real_time(source):
    encode(EncodeSettings(codec="libsvtav1"), source)
    threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
