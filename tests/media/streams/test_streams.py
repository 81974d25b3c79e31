"""What is not the video: carried in every direction, or refused, or told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from clips import SRT, make_video, packets, picture

from patchvsr.errors import OutputError
from patchvsr.media.probe import probe
from patchvsr.media.streams.copier import StreamCopier

BASE = Fraction(1, 1000)


def add_video(out, codec: str = "libx264"):
    stream = out.add_stream(codec, rate=25)
    stream.width = stream.height = 64
    stream.codec_context.time_base = stream.time_base = BASE
    return stream


def encode_video(out, stream, before=lambda time: None) -> None:
    def mux(encoded) -> None:
        for packet in encoded:
            before(packet.dts * packet.time_base)
            out.mux(packet)

    for index in range(25):
        frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = 40 * index, BASE
        mux(stream.encode(frame))
    mux(stream.encode(None))


def carry(source: Path, target: Path, **selection) -> list[str]:
    """Write `target` with a new video and the other streams of `source`; the notices."""
    with av.open(str(target), "w", container_options={"fflags": "+bitexact"}) as out:
        video = add_video(out, "libvpx-vp9" if target.suffix == ".webm" else "libx264")
        copier = StreamCopier(probe(source), out, **selection)
        told = list(copier.notices)
        encode_video(out, video, copier.copy_until)
        copier.finish()
        copier.close()
    assert copier.notices == told  # all is said before the work
    return told


def image(codec: str) -> bytes:
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 32
    context.pix_fmt, context.time_base = ("rgb24" if codec == "png" else "yuvj420p"), BASE
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24")
    return bytes(context.encode(frame.reformat(format=context.pix_fmt))[0])


def packet(payload: bytes, stream, pts: int = 0, duration: int = 40) -> av.Packet:
    made = av.Packet(payload)
    made.pts = made.dts = pts
    made.duration, made.time_base, made.stream = duration, BASE, stream
    return made


PICTURES = {"png": image("png"), "mjpeg": image("mjpeg")}


def make_rich(path: Path, *, pictures=(), data: str = "", timecode: str = "", tags=None, second_video=False) -> Path:
    with av.open(str(path), "w") as out:
        video = add_video(out)
        if timecode:
            video.metadata["timecode"] = timecode
        out.metadata.update(tags or {})
        waiting = []
        if second_video:
            other = add_video(out)
            other.metadata["title"] = "angle 2"
        for codec in pictures:
            if out.format.name == "matroska":
                mimetype = {"png": "image/png", "mjpeg": "image/jpeg"}[codec]
                out.add_attachment(f"front.{codec}", mimetype, PICTURES[codec])
            else:
                cover = out.add_mux_stream(codec, width=32, height=32, time_base=BASE)
                cover.disposition = Disposition.attached_pic
                waiting.append(packet(PICTURES[codec], cover))
        if data:
            track = out.add_data_stream(data)
            track.time_base = BASE
            waiting += [packet(b"payload %d" % i, track, 40 * i) for i in range(3)]
        out.start_encoding()
        out.mux(waiting)
        if second_video:
            encode_video(out, other)
        encode_video(out, video)
    return path


def covers(path: Path) -> list[bytes]:
    """The attached pictures that a reader finds."""
    with av.open(str(path)) as container:
        streams = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
        return [bytes(p) for p in container.demux(streams) if p.size] if streams else []


@pytest.mark.parametrize("target", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize("source", ["in.mkv", "in.mp4"])
def test_cover_art_moves_between_containers(tmp_path, source, target):
    clip = make_rich(tmp_path / source, pictures=["png", "mjpeg"])
    assert covers(clip) == list(PICTURES.values())
    assert carry(clip, tmp_path / target) == []
    assert covers(tmp_path / target) == list(PICTURES.values())
    assert carry(clip, tmp_path / f"cut_{target}", first=Fraction(1, 2), last=Fraction(9, 10)) == []
    assert covers(tmp_path / f"cut_{target}") == list(PICTURES.values())


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_cover_art_is_told_where_there_is_no_place(tmp_path, suffix):
    clip = make_rich(tmp_path / "in.mp4", pictures=["png"])
    name = suffix[1:]
    assert carry(clip, tmp_path / f"out{suffix}") == [
        f"not copied: stream 1 (video, png): {name} holds no png pictures"
    ]
    assert covers(tmp_path / f"out{suffix}") == []


def test_cover_art_keeps_its_file_name_in_matroska(tmp_path):
    carry(make_rich(tmp_path / "in.mkv", pictures=["png"]), tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams[1].metadata == {"filename": "front.png", "mimetype": "image/png"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_data_is_copied(tmp_path, suffix):
    clip = make_rich(tmp_path / "in.mp4", data="bin_data")
    assert carry(clip, tmp_path / f"out{suffix}") == []
    assert [p[::2] for p in packets(tmp_path / f"out{suffix}", "data")] == [p[::2] for p in packets(clip, "data")]
    assert len(packets(clip, "data")) == 3


def test_data_is_told_where_there_is_no_place(tmp_path):
    clip = make_rich(tmp_path / "in.mp4", data="bin_data")
    assert carry(clip, tmp_path / "out.mkv") == [
        "not copied: stream 1 (data, bin_data): matroska holds no such data streams"
    ]


def timecodes(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [v for s in container.streams for k, v in s.metadata.items() if k.lower() == "timecode"]


@pytest.mark.parametrize("target", ["out.mov", "out.mp4", "out.mkv"])
@pytest.mark.parametrize("source", ["in.mov", "in.mp4", "in.mkv"])
def test_timecode_survives(tmp_path, source, target):
    clip = make_rich(tmp_path / source, timecode="01:02:03:04")
    assert carry(clip, tmp_path / target) == []
    tracks = 1 if target == "out.mkv" else 2  # MP4 and MOV have it on the video and on a track of its own
    assert timecodes(tmp_path / target) == ["01:02:03:04"] * tracks
    assert carry(clip, tmp_path / f"end_{target}", last=Fraction(1, 2)) == []
    assert timecodes(tmp_path / f"end_{target}") == ["01:02:03:04"] * tracks


@pytest.mark.parametrize("source", ["in.mov", "in.mkv"])
def test_timecode_of_a_frame_that_is_left_out_is_dropped(tmp_path, source):
    clip = make_rich(tmp_path / source, timecode="01:02:03:04")
    assert carry(clip, tmp_path / "out.mov", first=Fraction(1, 2)) == [
        "not carried: timecode 01:02:03:04: it belongs to the first frame of the source, which is left out"
    ]
    assert timecodes(tmp_path / "out.mov") == []


def test_timecode_that_the_muxer_would_refuse_is_told(tmp_path):
    clip = make_rich(tmp_path / "in.mkv", timecode="01:02:03;04")
    assert carry(clip, tmp_path / "out.mov")[0].startswith(
        "not carried: timecode 01:02:03;04: it is a drop-frame timecode"
    )


def subtitle_lines(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    """(time, duration, text) of each subtitle, decoded; pauses have no text."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        found = []
        for p in container.demux(stream):
            for part in stream.codec_context.decode2(p) or () if p.size else ():
                text = part.ass.decode().split(",", 8)[-1]
                if text:
                    found.append((p.pts * p.time_base, p.duration * p.time_base, text))
        return found


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mov_text"), (".mov", "mov_text"), (".webm", "webvtt")])
def test_text_subtitles_are_converted_and_come_back(tmp_path, suffix, codec):
    clip = make_video(tmp_path / "in.mkv", subtitles=True)
    expected = [(a * BASE, b * BASE, text) for a, b, text in SRT]
    there, back = tmp_path / f"out{suffix}", tmp_path / "back.mkv"
    assert carry(clip, there) == [
        f"converted: stream 1 (subtitle, subrip, fra) to {codec}, which {suffix[1:]} takes: "
        "fonts, colours and positions are lost"
    ]
    assert subtitle_lines(there) == expected
    assert [s.language for s in probe(there).streams if s.type == "subtitle"] == ["fra"]
    notices = carry(there, back)
    assert len([n for n in notices if "to subrip" in n]) == (codec == "mov_text")  # Matroska takes WebVTT as it is
    assert subtitle_lines(back) == expected


def test_converted_subtitles_move_with_the_range(tmp_path):
    clip = make_video(tmp_path / "in.mkv", subtitles=True)
    carry(clip, tmp_path / "out.mp4", first=Fraction("0.5"), last=Fraction("1.4"))
    assert subtitle_lines(tmp_path / "out.mp4") == [(Fraction("0.2"), Fraction("0.3"), "two")]


def test_subtitles_of_the_same_kind_are_copied_bit_for_bit(tmp_path):
    clip = make_video(tmp_path / "in.mkv", subtitles=True)
    carry(clip, tmp_path / "a.mp4")
    for source, target in (("a.mp4", "b.mp4"), ("a.mp4", "b.mov")):
        assert carry(tmp_path / source, tmp_path / target) == []
        assert packets(tmp_path / target, "subtitle") == packets(tmp_path / source, "subtitle")


def test_picture_subtitles_that_do_not_fit_are_refused(tmp_path):
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        video = add_video(out)
        pictures = out.add_mux_stream("hdmv_pgs_subtitle", time_base=BASE)
        out.mux(packet(b"\x16\x00\x0b\x00\x40\x00\x40\x10\x00\x00\x00\x00\x00\x00", pictures))
        encode_video(out, video)
    with pytest.raises(
        OutputError, match=r"stream 1 \(subtitle, hdmv_pgs_subtitle\) does not fit into mp4; use \.mkv, or leave"
    ):
        carry(tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert carry(tmp_path / "in.mkv", tmp_path / "out.mp4", skip=[1]) == [
        "not copied: stream 1 (subtitle, hdmv_pgs_subtitle): as asked"
    ]
    assert carry(tmp_path / "in.mkv", tmp_path / "out.mkv") == []


def test_fonts_are_told_where_there_is_no_place(tmp_path):
    clip = make_video(tmp_path / "in.mkv", attachment=True)
    assert carry(clip, tmp_path / "out.mp4") == [
        "not copied: stream 1 (attachment, font.ttf): mp4 holds no attachments"
    ]
    assert carry(clip, tmp_path / "out.mkv") == []


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_second_video_is_copied_and_told(tmp_path, suffix):
    clip = make_rich(tmp_path / "in.mkv", second_video=True)
    assert carry(clip, tmp_path / f"out{suffix}") == [
        "not upscaled: stream 1 (video, h264): only the first video is; this one is copied unchanged"
    ]
    with av.open(str(tmp_path / f"out{suffix}")) as out, av.open(str(clip)) as source:
        copied, original = out.streams.video[1], source.streams.video[1]
        assert (copied.metadata.get("title") or copied.metadata["name"]) == "angle 2"
        assert [f.to_ndarray().tobytes() for f in out.decode(copied)] == [
            f.to_ndarray().tobytes() for f in source.decode(original)
        ]


TAGS = {"title": "A title", "artist": "Someone", "camera_roll": "A001"}


@pytest.mark.parametrize("target", ["out.mkv", "out.mov", "out.mp4"])
@pytest.mark.parametrize("source", ["in.mkv", "in.mov"])
def test_every_tag_is_kept_or_told(tmp_path, source, target):
    clip = make_rich(tmp_path / "a.mkv", tags=TAGS)
    if source == "in.mov":
        carry(clip, tmp_path / "in.mov")
        clip = tmp_path / "in.mov"
    notices = carry(clip, tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        kept = {key.lower(): value for key, value in container.metadata.items()}
    found = {key: kept.get(key) for key in TAGS}
    if target == "out.mp4":
        assert [n.lower() for n in notices] == ["not carried: tags camera_roll: mp4 has no place for them"]
        assert found == {**TAGS, "camera_roll": None}
    else:
        assert notices == [] and found == TAGS


@pytest.mark.parametrize("chain", [[".mkv", ".mp4", ".mkv"], [".mkv", ".mov", ".mp4"]])
def test_titles_languages_marks_and_chapters_survive(tmp_path, chain):
    clip = make_video(tmp_path / "first.mkv", audio=True, chapters=True)
    with av.open(str(clip)) as src, av.open(str(tmp_path / "in.mkv"), "w") as dst:
        dst.set_chapters(src.chapters())
        targets = [dst.add_stream_from_template(s, opaque=True) for s in src.streams]
        targets[1].metadata.update(title="Commentary", language="deu")
        targets[1].disposition = Disposition.comment | Disposition.default
        for p in src.demux():
            if p.size:
                p.stream = targets[p.stream.index]
                dst.mux(p)
    path = tmp_path / "in.mkv"
    for number, suffix in enumerate(chain):
        target = tmp_path / f"out{number}{suffix}"
        notices = carry(path, target)
        assert notices == (
            ["not carried: stream 1 (audio, aac, deu) is marked comment: mov has no place for it"]
            if suffix == ".mov"
            else []
        )
        path = target
    info = probe(path).streams[1]
    assert (info.type, info.title) == ("audio", "Commentary")
    assert info.language == ("ger" if ".mov" in chain else "deu")  # the same language, by the code that MOV has
    with av.open(str(path)) as container:
        assert [c["metadata"]["title"] for c in container.chapters()] == ["first", "second"]
        marked = bool(container.streams[1].disposition & Disposition.comment)
        assert marked == (".mov" not in chain)


def test_streams_keep_their_order(tmp_path):
    clip = make_video(tmp_path / "in.mkv", audio=True, subtitles=True)
    with av.open(str(clip)) as src, av.open(str(tmp_path / "turned.mkv"), "w") as dst:
        targets = {s.index: dst.add_stream_from_template(s, opaque=True) for s in reversed(src.streams)}
        for p in src.demux():
            if p.size:
                p.stream = targets[p.stream.index]
                dst.mux(p)
    for suffix in (".mkv", ".mp4"):
        carry(tmp_path / "turned.mkv", tmp_path / f"out{suffix}")
        assert [s.type for s in probe(tmp_path / f"out{suffix}").streams] == ["video", "subtitle", "audio"]


@pytest.mark.parametrize("target", ["out.mov", "out.mkv"])
@pytest.mark.parametrize("source", ["in.mov", "in.mkv"])
def test_a_copied_video_keeps_the_name_of_its_codec(tmp_path, source, target):
    with av.open(str(tmp_path / source), "w") as out:
        video, other = add_video(out), add_video(out, "prores_ks")
        other.pix_fmt = "yuv444p10le"
        out.mux([*other.encode(av.VideoFrame(64, 64, "yuv444p10le")), *other.encode(None)])
        encode_video(out, video)
    carry(tmp_path / source, tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        assert (container.streams.video[1].codec_context.codec_tag, container.streams.video[1].profile) == (
            "ap4h",
            "4444",
        )


@pytest.mark.parametrize("suffix", [".3gp", ".3g2", ".mp4"])
def test_tags_are_kept_or_told_in_every_kin_of_mp4(tmp_path, suffix):
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        out.metadata.update({"title": "Name", "camera_roll": "7"})
        encode_video(out, add_video(out))
    told = " ".join(carry(tmp_path / "in.mkv", tmp_path / f"out{suffix}")).lower()
    with av.open(str(tmp_path / f"out{suffix}")) as written:
        kept = {key.lower() for key in written.metadata}
    assert all((key in kept) != (key in told) for key in ("title", "camera_roll"))
