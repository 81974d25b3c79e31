"""Choose and configure the video encoder: name, pixel format, quality, and options for reproducible bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import ThreadType
from av.video.stream import VideoStream

from patchvsr.errors import SettingsError
from patchvsr.media.color import BT709, LIMITED, ColorTags, bit_depth, can_make, holds_alpha, is_rgb
from patchvsr.media.encoder_profiles import ALPHA_PIX_FMTS, PROFILES, PRORES_ALPHA_PROFILES, Profile
from patchvsr.media.hdr import HDR_ENCODERS, hdr_options
from patchvsr.media.info import VideoInfo
from patchvsr.media.settings import EncodeSettings
from patchvsr.pixels.size import Size

FRIENDLY_NAMES = {
    "h264": ("libx264",),
    "h265": ("libx265",),
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
    "prores": ("prores_ks",),
    "dnxhr": ("dnxhd",),
}

# Containers that cannot hold H.264.
_DEFAULT_CODECS = {".webm": "av1"}

# Encoders whose HDR metadata `hdr_header` can write into the container.
_IN_HEADER = ("ffv1", "prores_ks", "libvpx-vp9")


@dataclass(frozen=True)
class Encoder:
    """A validated choice: everything needed to open the encoder."""

    name: str
    pix_fmt: str
    options: dict[str, str]
    threads: int
    frame_threads: bool


def default_codec(output: str | Path = "") -> str:
    """Return the default encoder for an output of that name."""
    return _DEFAULT_CODECS.get(Path(output).suffix.lower(), "libx264")


def choose_encoder(settings: EncodeSettings, source: VideoInfo, size: Size, *, output: str | Path = "") -> Encoder:
    """Resolve names and defaults; raise SettingsError, naming what works, if the choice is impossible."""
    codec = _find_codec(settings.codec or default_codec(output))
    profile = PROFILES.get(codec.name, Profile())
    if min(size) < profile.min_side_px:
        raise SettingsError(
            f"{size} is too small for {codec.name}; it needs {profile.min_side_px} pixels a side, "
            f"use codec h264 or ffv1"
        )
    pix_fmt = _choose_pix_fmt(codec, profile, settings.pix_fmt, source, size)
    options = dict(profile.fixed)
    for more in (profile.by_pix_fmt.get(pix_fmt, {}), hdr_options(codec.name, source.hdr), settings.encoder_options):
        _add_options(options, more)
    crf = profile.crf if settings.crf is None else settings.crf
    if crf is not None:
        if profile.no_crf:
            raise SettingsError(f"crf {crf:g}: {codec.name} {profile.no_crf}")
        options.setdefault("crf", f"{crf:g}")
    return Encoder(codec.name, pix_fmt, options, profile.threads, profile.frame_threads)


def is_coarse(name: str, pix_fmt: str, options: Mapping[str, str]) -> bool:
    """Return whether an encoder may lose more of a picture than with its default quality, as far as known."""
    profile = PROFILES.get(name)
    if profile is None:
        return True
    usual = {**profile.fixed, **profile.by_pix_fmt.get(pix_fmt, {})}
    for key, value in options.items():
        if key == "crf" and profile.crf is not None:
            if float(value) > profile.crf:
                return True
        elif key.endswith("-params"):
            if re.search(r"\b(crf|qp|bitrate)=", value):
                return True
        elif key not in ("preset", "tune") and value != usual.get(key):
            return True
    return profile.crf is not None and "crf" not in options


def encoder_notices(encoder: Encoder, source: VideoInfo, *, hdr_in_header: bool = False) -> list[str]:
    """Return lines for the user about the properties of the source that this encoder does not keep.

    hdr_in_header: whether `containers.add_video_copy` makes the stream, which puts HDR metadata into the container.
    """
    depth = bit_depth(av.VideoFormat(encoder.pix_fmt))
    lines = hdr_notices(encoder.name, source, in_header=hdr_in_header)
    if depth < source.bit_depth:
        lines.append(f"reduced: {source.bit_depth} bits a component are encoded as {depth} ({encoder.name})")
    alpha = alpha_notice(source, encoder.name, encoder.pix_fmt, encoder.options)
    return lines if alpha is None else [*lines, alpha]


def hdr_notices(encoder: str, source: VideoInfo, *, in_header: bool = False) -> list[str]:
    """Return lines for the user about the metadata of the frames that the output will lack.

    in_header: whether the container gets the HDR metadata for the encoders in `_IN_HEADER`.
    """
    lines = [f"not carried: {what}" for what in source.lost_side_data]
    carried = encoder in HDR_ENCODERS or (in_header and encoder in _IN_HEADER)
    if source.hdr is not None and not carried:
        lines.append(
            f"not carried: HDR10 mastering display and light levels: {encoder} has no place for them; use codec hevc"
        )
    return lines


def _add_options(options: dict[str, str], more: Mapping[str, object]) -> None:
    """Update `options` in place; later values win, but `-params` lists are joined."""
    for key, value in more.items():
        joined = key in options and key.endswith("-params")
        options[key] = f"{options[key]}:{value}" if joined else str(value)


def open_encoder(stream: VideoStream, encoder: Encoder, source: VideoInfo, size: Size) -> None:
    """Configure and open the encoder of an output stream; raise SettingsError if it refuses."""
    context = stream.codec_context
    (context.width, context.height), context.pix_fmt = size, encoder.pix_fmt
    # The encoder sees a constant frame rate. Only the muxer gets the true times.
    stream.time_base = source.time_base
    context.time_base = 1 / nominal_rate(source)
    context.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(0, 1)
    tags = output_color(encoder, source)
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer
    context.colorspace, context.color_range = tags.matrix, tags.range
    context.thread_count = encoder.threads
    context.thread_type = ThreadType.FRAME if encoder.frame_threads else ThreadType.SLICE
    context.options = dict(encoder.options)
    given = " ".join(f"{key}={value}" for key, value in encoder.options.items())
    if encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only; SVT-AV1 has no other way to hide its banner
    try:
        with usual_priority():
            context.open()
    except (av.FFmpegError, ValueError) as err:
        raise SettingsError(
            f"{encoder.name} refuses {size} {encoder.pix_fmt} with {given or 'no options'}; check size and options"
        ) from err
    if context.options:  # FFmpeg leaves the options it did not recognise
        raise SettingsError(_unknown_option(stream, next(iter(context.options))))


@contextmanager
def usual_priority() -> Iterator[None]:
    """Give all threads the priority back that this one had before.

    SVT-AV1, run by root, makes its threads and the one that opens it real-time: nothing else would run on their cores.
    """
    threads = Path("/proc/self/task")
    if not threads.is_dir():  # not Linux
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in threads.iterdir():
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(int(thread.name), policy, priority)


def tag_frame(frame: av.VideoFrame, encoder: Encoder, source: VideoInfo) -> None:
    """Set the colour tags of a frame. The ProRes encoder writes these, not those of its context."""
    tags = output_color(encoder, source)
    frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
    frame.colorspace, frame.color_range = tags.matrix, tags.range


def alpha_notice(source: VideoInfo, encoder: str, pix_fmt: str, options: Mapping[str, str] | None = None) -> str | None:
    """Return a line for the user if the alpha of `source` is lost or changes its meaning, else None.

    encoder, pix_fmt: for images "png" or "exr", and any format with alpha.
    """
    if not source.has_alpha:
        return None
    profile = (options or {}).get("profile", "4444")
    if encoder == "prores_ks" and profile not in PRORES_ALPHA_PROFILES:
        return f"alpha is not kept: ProRes profile {profile} has none; use profile=4444"
    if encoder == "exr" or holds_alpha(av.VideoFormat(pix_fmt)):
        if source.codec == "exr" and encoder != "exr":
            return "colours stay premultiplied by alpha, as in EXR; interpret the alpha as premultiplied"
        return None
    if encoder in ALPHA_PIX_FMTS:
        known = " or ".join(dict.fromkeys(ALPHA_PIX_FMTS[encoder]))
        return f"alpha is not kept: {pix_fmt} has none; use pix_fmt {known}"
    return f"alpha is not kept: {encoder} has no such format; use codec ffv1 or prores_ks, or write PNG images"


def nominal_rate(source: VideoInfo) -> Fraction:
    """Return the nominal frame rate for the encoder's rate control; frame times do not depend on it."""
    rate = (source.average_rate or Fraction(24)).limit_denominator(1001)
    return rate if 1 <= rate <= 240 else Fraction(24)


def output_color(encoder: Encoder, source: VideoInfo) -> ColorTags:
    """Return the colour tags to which output pixels are converted and with which they are tagged."""
    if is_rgb(av.VideoFormat(encoder.pix_fmt)):
        return source.color.for_rgb()
    tags = source.color.for_yuv()
    if encoder.name == "dnxhd":  # FFmpeg always writes this matrix into DNxHD's bit stream, and decoders obey it
        return replace(tags, matrix=BT709)
    if encoder.name.startswith("prores"):  # ProRes has no full range
        return replace(tags, range=LIMITED)
    return tags


def _find_codec(name: str) -> av.Codec:
    for candidate in FRIENDLY_NAMES.get(name.lower(), (name,)):
        try:
            codec = av.Codec(candidate, "w")
        except ValueError:
            continue
        if codec.type == "video":
            return codec
    raise SettingsError(
        f"codec {name!r} is not known here; use h264, hevc, av1, ffv1, prores, vp9, dnxhr or a video encoder of FFmpeg"
    )


def _choose_pix_fmt(codec: av.Codec, profile: Profile, wanted: str | None, source: VideoInfo, size: Size) -> str:
    # "yuvj" formats are deprecated names for full range, which here follows the tags of the source.
    formats = [f for f in codec.video_formats or [] if not f.name.startswith("yuvj")]
    supported = [f.name for f in formats if can_make(f)]
    if formats and not supported:
        raise _without_colours(codec)
    deep = (source.bit_depth > 8) + (source.bit_depth > 10)
    if wanted is not None:
        if (supported and wanted not in supported) or wanted.startswith("yuvj"):
            raise SettingsError(f"pix_fmt {wanted!r} does not work with {codec.name}; use {', '.join(supported)}")
        _check_even(wanted, size, codec.name, profile)
        return wanted
    choices = profile.pix_fmts
    if source.has_alpha:
        choices = ALPHA_PIX_FMTS.get(codec.name, choices)
    if _cuts(choices[deep], size):
        choices = profile.odd_pix_fmts or choices
    pix_fmt = choices[deep]
    if supported and pix_fmt not in supported:
        coloured = [name for name in supported if len(av.VideoFormat(name).components) >= 3]
        if not coloured:
            raise _without_colours(codec)
        pix_fmt = coloured[0]
    _check_even(pix_fmt, size, codec.name, profile)
    return pix_fmt


def _without_colours(codec: av.Codec) -> SettingsError:
    names = ", ".join(f.name for f in codec.video_formats or [])
    return SettingsError(
        f"codec {codec.name} takes only {names}: frames have colours of 8 to 16 bits; use another codec, such as ffv1"
    )


def _cuts(pix_fmt: str, size: Size) -> bool:
    """Return whether chroma subsampling does not divide the frame size evenly."""
    layout = av.VideoFormat(pix_fmt)
    if is_rgb(layout):
        return False
    return (layout.chroma_width(2) == 1 and size.width % 2 == 1) or (
        layout.chroma_height(2) == 1 and size.height % 2 == 1
    )


def _check_even(pix_fmt: str, size: Size, codec: str, profile: Profile) -> None:
    if _cuts(pix_fmt, size):
        advice = f"use pix_fmt {profile.odd_pix_fmts[0]}" if profile.odd_pix_fmts else "use codec h264, hevc or ffv1"
        raise SettingsError(f"{size} is odd and {pix_fmt} with {codec} needs even sizes; {advice}")


def _unknown_option(stream: VideoStream, key: str) -> str:
    name = stream.codec_context.name
    known = getattr(stream.codec_context, "supported_options", None)
    if known is None:  # available from PyAV 18 on
        return f"option {key!r} is not known to {name}; `ffmpeg -h encoder={name}` lists what it has"
    names = [o.name for o in (*known.private, *known.generic)]
    near = get_close_matches(key, names, n=3, cutoff=0.5) or [o.name for o in known.private][:12]
    return f"option {key!r} is not known to {name}; it has {', '.join(near)}"
