"""Copy the tags of a file and its streams, and report those that do not fit."""

from __future__ import annotations

from collections.abc import Iterable

from av.container import InputContainer, OutputContainer
from av.stream import Stream

from patchvsr.media.info import StreamInfo
from patchvsr.media.streams.containers import MP4_FAMILY, kept_tags

# Tags that describe the source file rather than its content; muxers write their own.
_OWN_TAGS = {"encoder", "software", "duration", "major_brand", "minor_version", "compatible_brands", "vendor_id"}
_STATISTICS = ("BPS", "NUMBER_OF_", "_STATISTICS", "SOURCE_ID")

# The MP4 demuxer's name for the title of a stream.
_RENAMED = {"name": "title"}

# Default handler names, which every MP4 has.
_DEFAULT_HANDLERS = {"VideoHandler", "SoundHandler", "SubtitleHandler", "DataHandler"}


# ISO 639-2 has two codes for some languages; the list of MOV has only one of them.
_PAIRS = (
    "alb sqi, arm hye, baq eus, bur mya, chi zho, cze ces, dut nld, fre fra, geo kat, ger deu, gre ell, ice isl, "
    "mac mkd, may msa, per fas, rum ron, slo slk, tib bod, wel cym"
)
_OTHER_CODES = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), reversed(pair.split()))}


def copy_global_tags(source: InputContainer, output: OutputContainer) -> list[str]:
    """Copy the tags of a file; return lines for the user about those that do not fit."""
    tags, name = dict(_content(source.metadata.items())), output.format.name
    output.metadata.update(tags)
    kept = {key.lower() for key in kept_tags(name, tags)}
    lost = [key for key in tags if key.lower() not in kept]
    if lost and name == "mov":
        # This metadata format holds any tag, unlike the default one. MP4 keeps the default, because this one has no
        # cover art and few players look there for the title.
        flags = output.container_options.get("movflags", "")
        output.container_options["movflags"] = f"{flags}+use_metadata_tags"
        return []
    return [f"not carried: tags {', '.join(lost)}: {name} has no place for them"] if lost else []


def copy_stream_tags(info: StreamInfo, source: Stream, target: Stream, container: str) -> list[str]:
    """Copy the tags of a stream; return lines for the user about those that do not fit."""
    tags = {_RENAMED.get(key, key): value for key, value in _content(source.metadata.items())}
    kept = kept_tags(container, tags, of_stream=True)
    kept_keys = {_RENAMED.get(key, key) for key in kept}
    lost = [key for key in tags if key not in kept_keys and key.lower() != "timecode"]
    if "language" in lost:
        other = _OTHER_CODES.get(tags["language"], "")
        if kept_tags(container, {"language": other}, of_stream=True).get("language") == other:
            tags["language"] = other
            lost.remove("language")
    target.metadata.update(tags)
    return [f"not carried: tags {', '.join(lost)} of {info}: {container} has no place for them"] if lost else []


def check_timecode(output: OutputContainer, *, moved: bool) -> list[str]:
    """Drop a timecode that would be wrong or that the muxer refuses; return lines for the user about it.

    moved: whether the output starts later than the source.
    """
    video = output.streams.video[0]
    holders = [tags for tags in (output.metadata, video.metadata) if any(key.lower() == "timecode" for key in tags)]
    if not holders:
        return []
    key, timecode = next((key, value) for key, value in holders[-1].items() if key.lower() == "timecode")
    reason = _against_timecode(output, timecode, moved)
    if reason is None:
        return []
    for tags in holders:
        for key in [key for key in tags if key.lower() == "timecode"]:
            del tags[key]
    return [f"not carried: timecode {timecode}: {reason}"]


def _against_timecode(output: OutputContainer, timecode: str, moved: bool) -> str | None:
    if moved:
        return "it belongs to the first frame of the source, which is left out"
    if output.format.name not in MP4_FAMILY:
        return None
    rate = output.streams.video[0].average_rate  # the muxer converts the timecode with it
    if not rate:
        return f"{output.format.name} needs a frame rate for it"
    if any(mark in timecode for mark in ";.") and round(rate) not in (30, 60):
        return f"it is a drop-frame timecode, for 29.97 or 59.94 frames/s, not for {float(rate):g}"
    return None


def _content(tags: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for key, value in tags:
        own = key.lower() in _OWN_TAGS or key.upper().startswith(_STATISTICS)
        own = own or (key.lower() == "language" and value == "und")
        if not own and not (key.lower() == "handler_name" and value in _DEFAULT_HANDLERS):
            yield key, value
