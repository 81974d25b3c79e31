"""The combinations of the matrix test: every kind of source, of output, of rate, stream and colour."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
from av.stream import Disposition
from matrix import RATES, Clip, Sound

from patchvsr.settings import UpscaleSettings

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

    def config(self) -> UpscaleSettings:
        return UpscaleSettings.of(
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


AAC = (Sound("aac"),)
OPUS = (Sound("libopus"),)
B_FRAMES = Clip(options={"preset": "fast"}, sounds=AAC)
MP4, MOV = replace(B_FRAMES, suffix=".mp4"), replace(B_FRAMES, suffix=".mov")
WEBM = Clip(".webm", "libvpx-vp9", options=FAST["vp9"], sounds=OPUS)
HEVC = Clip(codec="libx265", options={"preset": "ultrafast", "x265-params": "log-level=error:bframes=3"}, sounds=AAC)
AV1 = Clip(codec="libsvtav1", options={"preset": "11"}, sounds=OPUS, side=64)
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
    *(
        Case(replace(B_FRAMES, rate=rate), ".mkv", codec)
        for rate in ("variable", "negative")
        for codec in ("hevc", "ffv1")
    ),
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
    Case(replace(PRORES, side=64), ".mov", "dnxhr", scale=4),
    Case(replace(B_FRAMES, side=64), ".mov", "dnxhr", scale=4),
    # Depths, alpha, images.
    *(
        Case(DEEP, target, codec)
        for target, codec in (
            (".mkv", "h264"),
            (".mp4", "hevc"),
            (".mkv", "av1"),
            (".mov", "prores"),
            (".mkv", "ffv1"),
        )
    ),
    Case(replace(HEVC, pix_fmt="yuv420p12le"), ".mp4", "hevc"),
    Case(replace(HEVC, pix_fmt="yuv444p12le"), ".mkv", "av1", told=("reduced: 12 bits",)),
    Case(replace(HEVC, pix_fmt="yuv420p12le"), ".mkv", "ffv1"),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".mkv", "ffv1"),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".mp4", "hevc", told=("reduced: 16 bits",)),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".png", told=("times",)),
    Case(Clip(codec="ffv1", pix_fmt="gbrp16le"), ".exr", told=("times",)),
    Case(
        replace(MP4, rate="variable", shape=Fraction(4, 3), rotation=90),
        ".png",
        told=("times", "stream 1 (audio, aac", "rotation", "pixel shape 4/3"),
    ),
    Case(
        replace(HDR10, color=dict(color_primaries=9, color_trc=16, colorspace=9)),
        ".exr",
        told=("times", "stream 1 (audio, aac", "hdr10"),
    ),
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
    Case(
        RICH,
        ".mp4",
        told=(
            "not copied: stream 7 (attachment",
            "converted: stream 4",
            "converted: stream 5",
            "converted: stream 6",
            "camera_roll",
        ),
    ),
    Case(
        replace(RICH, sounds=SOUNDS),
        ".mov",
        told=(
            "not copied: stream 6 (attachment",
            "converted: stream 3",
            "converted: stream 4",
            "converted: stream 5",
            "is marked",
            "pictures",
        ),
    ),
    Case(replace(RICH_MP4, suffix=".mp4"), ".mkv", told=("converted: stream 3", "data")),
    Case(replace(RICH_MP4, suffix=".mp4"), ".mp4"),
    Case(replace(RICH_MP4, suffix=".mp4"), ".mov", told=("is marked", "pictures")),
    Case(replace(RICH_MP4, suffix=".mov", extras=("chapters", "timecode", "tags")), ".mp4"),
    Case(
        replace(RICH_MP4, suffix=".mov", extras=("chapters", "timecode", "tags")), ".mkv", told=("converted: stream 3",)
    ),
    Case(replace(WEBM, subtitles=("webvtt",), extras=("chapters", "tags")), ".webm"),
    Case(
        replace(WEBM, subtitles=("webvtt",), extras=("chapters", "tags")),
        ".mp4",
        told=("converted: stream 2", "camera_roll"),
    ),
    Case(replace(WEBM, subtitles=("webvtt",), extras=("chapters", "tags")), ".mkv"),
    Case(
        replace(B_FRAMES, sounds=tuple(Sound(c) for c in ("ac3", "libopus", "flac", "pcm_s16le", "libmp3lame"))), ".mkv"
    ),
    Case(
        replace(B_FRAMES, sounds=tuple(Sound(c) for c in ("ac3", "libopus", "flac", "pcm_s16le", "libmp3lame"))), ".mp4"
    ),
    Case(replace(B_FRAMES, sounds=(Sound("aac", start=Fraction(1, 4)), Sound("ac3", rate=44100))), ".mp4"),
    Case(replace(B_FRAMES, suffix=".mov", sounds=(Sound("pcm_s24le"), Sound("alac"))), ".mov"),
    Case(replace(B_FRAMES, suffix=".mov", sounds=(Sound("pcm_s24le"), Sound("alac"))), ".mkv"),
    Case(replace(B_FRAMES, sounds=(Sound("alac"), Sound("pcm_s24le"))), ".mov"),
    Case(Clip(".avi", "mpeg4", sounds=(Sound("flac"),)), ".mp4"),
    # Colours, shapes.
    *(
        Case(HDR10, target, codec)
        for target, codec in (
            (".mkv", "hevc"),
            (".mp4", "hevc"),
            (".mkv", "h264"),
            (".mp4", "av1"),
            (".mkv", "ffv1"),
            (".mov", "prores"),
        )
    ),
    Case(replace(HDR10, side=64), ".mov", "dnxhr", scale=4, told=("hdr10",)),
    Case(replace(HDR10, sounds=OPUS), ".webm", "vp9", told=("reduced",) * (VP9_BITS < 10)),
    Case(replace(DEEP, color=dict(color_primaries=9, color_trc=18, colorspace=9, color_range=1)), ".mkv", "hevc"),
    Case(replace(DEEP, color=dict(color_primaries=9, color_trc=18, colorspace=9, color_range=1)), ".mp4", "av1"),
    *(
        Case(replace(B_FRAMES, color=dict(color_range=2, color_primaries=1, color_trc=1, colorspace=1)), target, codec)
        for target, codec in (
            (".mkv", None),
            (".mp4", "hevc"),
            (".mkv", "ffv1"),
            (".mov", "prores"),
        )
    ),
    *(
        Case(replace(MP4, color=dict(color_primaries=5, color_trc=6, colorspace=5, color_range=1)), target, codec)
        for target, codec in (
            (".mkv", None),
            (".mp4", "av1"),
            (".mov", "prores"),
        )
    ),
    *(
        Case(replace(MP4, shape=Fraction(4, 3), rotation=90), target, codec)
        for target, codec in (
            (".mkv", None),
            (".mkv", "hevc"),
            (".mp4", None),
            (".mp4", "av1"),
            (".mov", "prores"),
            (".mov", "hevc"),
        )
    ),
    *(Case(replace(B_FRAMES, shape=Fraction(16, 15), rotation=180), target) for target in (".mkv", ".mp4", ".mov")),
    # Ranges.
    *(
        Case(replace(clip, rate=rate), target, span=span)
        for clip, target, rate, span in (
            (replace(RICH, extras=("font", "cover", "chapters", "tags")), ".mkv", "25", (0.2, 0.8)),
            (MP4, ".mp4", "variable", (0.3, None)),
            (MP4, ".mkv", "29.97 at 90 kHz", (0.1, 0.5)),
            (B_FRAMES, ".mp4", "late", (0.3, 0.61)),
            (B_FRAMES, ".mov", "23.976", (None, 0.5)),
            (WEBM, ".webm", "drop-outs", (0.35, 0.9)),
            (replace(B_FRAMES, suffix=".ts"), ".mp4", "29.97 at 90 kHz", (0.2, 0.6)),
        )
    ),
]
