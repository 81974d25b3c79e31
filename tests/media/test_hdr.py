"""HDR metadata: read from real streams, written by the encoders that can, told otherwise."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import pytest
from clips import make_video, picture

from patchvsr.media.color import ColorConverter
from patchvsr.media.encoders import choose_encoder, encoder_notices, open_encoder, tag_frame
from patchvsr.media.hdr import HdrMetadata
from patchvsr.media.probe import probe
from patchvsr.media.settings import EncodeSettings
from patchvsr.media.streams.containers import add_video_copy
from patchvsr.pixels.size import Size

PQ, HLG, BT2020 = 16, 18, 9
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def decimals(*values: str) -> tuple[Fraction, ...]:
    return tuple(Fraction(v) for v in values)


HDR10 = HdrMetadata(
    primaries=(decimals("0.68", "0.32"), decimals("0.265", "0.69"), decimals("0.15", "0.06")),
    white_point=decimals("0.3127", "0.329"),
    min_luminance=Fraction("0.005"),
    max_luminance=Fraction(1000),
    max_cll=1000,
    max_fall=400,
)


def make_hdr(path, transfer: int = PQ, metadata: str = f":master-display={DISPLAY}:max-cll=1000,400"):
    return make_video(
        path,
        codec="libx265",
        pix_fmt="yuv420p10le",
        count=3,
        tags={"color_primaries": BT2020, "color_trc": transfer, "colorspace": BT2020, "color_range": 1},
        options={"preset": "ultrafast", "x265-params": f"log-level=error:bframes=0{metadata}"},
    )


def encode(path, source, codec: str, **options: str):
    """Three frames as the encoder for `source` writes them."""
    encoder = choose_encoder(EncodeSettings(codec, encoder_options=options), source, Size(64, 64))
    converter = ColorConverter(source.color)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(encoder.name, rate=25)
        open_encoder(stream, encoder, source, Size(64, 64))
        for index in range(3):
            frame = converter.from_rgb(picture(index), encoder.pix_fmt)
            tag_frame(frame, encoder, source)
            frame.pts, frame.time_base = index * 40, source.time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def near(a: HdrMetadata, b: HdrMetadata) -> bool:
    """Equal but for AV1's fixed-point numbers."""

    def numbers(hdr: HdrMetadata) -> list[float]:
        points = [v for point in (*hdr.primaries, hdr.white_point) for v in point]
        return [float(v) for v in (*points, hdr.min_luminance, hdr.max_luminance, hdr.max_cll, hdr.max_fall)]

    return all(abs(x - y) < 1e-4 for x, y in zip(numbers(a), numbers(b), strict=True))


def test_static_metadata_is_read(tmp_path):
    info = probe(make_hdr(tmp_path / "in.mkv"))
    assert info.hdr == HDR10
    assert info.lost_side_data == ()
    assert probe(make_hdr(tmp_path / "plain.mkv", metadata="")).hdr is None


def test_light_levels_alone_are_read(tmp_path):
    info = probe(make_hdr(tmp_path / "in.mkv", metadata=":max-cll=900,300"))
    assert info.hdr == HdrMetadata(max_cll=900, max_fall=300)


@pytest.mark.parametrize(
    ("codec", "preset"), [("hevc", "ultrafast"), ("h264", "ultrafast"), ("av1", "11")]
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_metadata_and_curve_survive(tmp_path, codec, preset, suffix, transfer):
    source = probe(make_hdr(tmp_path / "in.mkv", transfer))
    after = probe(encode(tmp_path / f"out{suffix}", source, codec, preset=preset))
    assert near(after.hdr, HDR10)
    tags = after.stored_color
    assert (tags.primaries, tags.transfer, tags.matrix, tags.range) == (BT2020, transfer, BT2020, 1)
    assert after.bit_depth == 10
    assert encoder_notices(choose_encoder(EncodeSettings(codec), source, Size(64, 64)), source) == []


@pytest.mark.parametrize(("codec", "suffix"), [("ffv1", ".mkv"), ("prores", ".mov")])
def test_the_curve_survives_where_metadata_has_no_place(tmp_path, codec, suffix):
    source = probe(make_hdr(tmp_path / "in.mkv"))
    tags = probe(encode(tmp_path / f"out{suffix}", source, codec)).stored_color
    assert (tags.primaries, tags.transfer) == (BT2020, PQ)
    encoder = choose_encoder(EncodeSettings(codec), source, Size(64, 64))
    assert encoder_notices(encoder, source) == [
        f"not carried: HDR10 mastering display and light levels: {encoder.name} has no place for them; use codec hevc"
    ]
    assert encoder_notices(encoder, source, hdr_in_header=True) == []


def test_user_parameters_come_after_the_metadata(tmp_path):
    source = probe(make_hdr(tmp_path / "in.mkv"))
    options = {"preset": "ultrafast", "x265-params": "max-cll=500,200"}
    assert probe(encode(tmp_path / "out.mkv", source, "hevc", **options)).hdr == replace(
        HDR10, max_cll=500, max_fall=200
    )


def test_dynamic_metadata_is_told(tmp_path):
    source = replace(probe(make_hdr(tmp_path / "in.mkv")), lost_side_data=("HDR10+ metadata",))
    encoder = choose_encoder(EncodeSettings("hevc"), source, Size(64, 64))
    assert encoder_notices(encoder, source) == ["not carried: HDR10+ metadata"]


@pytest.mark.parametrize(
    ("codec", "suffix"), [("ffv1", ".mkv"), ("prores", ".mkv"), ("prores", ".mov"), ("vp9", ".webm"), ("hevc", ".mp4")]
)
def test_a_container_holds_what_the_bit_stream_cannot(tmp_path, codec, suffix):
    source = probe(make_hdr(tmp_path / "in.mkv"))
    options = {"preset": "ultrafast"} if codec == "hevc" else {}
    unit = encode(tmp_path / "unit.mkv", source, codec, **options)
    with av.open(str(unit)) as given, av.open(str(tmp_path / f"out{suffix}"), "w") as out:
        target = add_video_copy(out, given.streams.video[0], source.hdr)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = target
                out.mux(packet)
    before, after = probe(unit), probe(tmp_path / f"out{suffix}")
    assert near(after.hdr, HDR10)
    assert (after.pix_fmt, after.width, after.stored_color) == (before.pix_fmt, before.width, before.stored_color)
    with av.open(str(unit)) as a, av.open(str(tmp_path / f"out{suffix}")) as b:
        assert [f.to_ndarray().tobytes() for f in a.decode(video=0)] == [
            f.to_ndarray().tobytes() for f in b.decode(video=0)
        ]
