"""Describe a video in words: the lines of `patchvsr info`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from av.video.reformatter import ColorPrimaries, ColorTrc

from patchvsr.media.color import FULL, LIMITED, ColorTags
from patchvsr.media.hdr import HdrMetadata
from patchvsr.media.info import VideoInfo

# H.273 names. PyAV's own names belong to swscale's numbering.
_MATRICES = {0: "RGB", 1: "BT.709", 2: "unspecified", 5: "BT.470BG", 6: "SMPTE170M", 9: "BT.2020", 10: "BT.2020 (cl)"}
_RANGES = {LIMITED: "limited", FULL: "full"}
_CURVES = {16: "PQ", 18: "HLG"}  # PyAV names these by their standards


def facts(info: VideoInfo) -> Iterator[tuple[str, str]]:
    """Yield (name, value) for everything that is known. What the file does not specify is left out."""
    yield "file", str(info.path)
    yield "container", info.container
    yield "video", f"stream {info.video_index}, {info.codec}, {info.pix_fmt}, {info.bit_depth} bits a component"
    yield "size", f"{info.width}x{info.height} pixels"
    if info.average_rate is not None:
        yield "frame rate", f"{float(info.average_rate):.6g} a second on average"
    if info.declared_frames is not None:
        yield "frames", f"{info.declared_frames} by the header, which may be wrong"
    if info.duration_s is not None:
        yield "duration", f"{info.duration_s:.3f} s"
    yield "time base", f"{info.time_base} s, first frame at tick {info.start_pts}"
    if info.sample_aspect_ratio not in (None, 0, 1):
        yield "pixel shape", f"{info.sample_aspect_ratio} (kept, not applied)"
    if info.rotation:
        yield "rotation", f"{info.rotation} degrees counterclockwise (kept, not applied)"
    yield "color", _colors(info.stored_color, info.color)
    yield from ([] if info.hdr is None else [("hdr", _hdr(info.hdr))])
    yield "alpha", "yes" if info.has_alpha else "no"
    yield "interlaced", "yes: upscale it with --deinterlace frame or field" if info.interlaced else "no"
    for what in info.lost_side_data:
        yield "not carried", what
    for stream in info.streams:
        picture = ", cover picture" if stream.attached_picture else ""
        yield f"stream {stream.index}", str(stream).partition("(")[2].rstrip(")") + picture


def _colors(stored: ColorTags, used: ColorTags) -> str:
    text = (
        f"primaries {_name(ColorPrimaries, stored.primaries)}, transfer {_name(ColorTrc, stored.transfer)}, "
        f"matrix {_matrix(stored.matrix)}, range {_RANGES.get(stored.range, 'unspecified')}"
    )
    taken = [_matrix(used.matrix)] if used.matrix != stored.matrix else []
    taken += [f"{_RANGES[used.range]} range"] if used.range != stored.range else []
    return f"{text}; taken for {', '.join(taken)}" if taken else text


def _name(names: type[IntEnum], code: int) -> str:
    if names is ColorTrc and code in _CURVES:
        return _CURVES[code]
    name = names(code).name if code in list(names) else str(code)
    return name.lower() if name == "UNSPECIFIED" else name


def _matrix(code: int) -> str:
    return _MATRICES.get(code, str(code))


def _hdr(hdr: HdrMetadata) -> str:
    parts = []
    if hdr.max_luminance is not None:
        parts.append(f"mastering display {float(hdr.min_luminance or 0):g} to {float(hdr.max_luminance):g} cd/m2")
    if hdr.max_cll or hdr.max_fall:
        parts.append(f"brightest pixel {hdr.max_cll or 0}, brightest frame average {hdr.max_fall or 0} cd/m2")
    return ", ".join(parts) or "mastering display"
