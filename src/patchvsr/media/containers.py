"""What a container holds. The muxer itself is asked, with a trial file in memory."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from io import BytesIO

import av
from av.stream import Disposition, Stream

MP4_FAMILY = ("mp4", "mov", "ipod")

# The marks that are read back; MP4 keeps them all.
_MATROSKA_MARKS = (
    Disposition.default | Disposition.forced | Disposition.original | Disposition.comment | Disposition.descriptions
    | Disposition.hearing_impaired | Disposition.visual_impaired
)  # fmt: skip
_MARKS = {
    "matroska": _MATROSKA_MARKS,
    "webm": _MATROSKA_MARKS,
    "mov": Disposition.default,
    "ipod": Disposition.default,
}

# The tags of a stream that MP4 and MOV have a place for.
_MP4_STREAM_TAGS = {"language", "title", "handler_name", "timecode", "creation_time"}


def fits(stream: Stream, container: str) -> bool:
    """Whether the packets of `stream` can be copied into a container of that format."""
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True


def lost_tags(tags: dict[str, str], container: str) -> list[str]:
    """The keys of global tags that a container of that format has no place for."""
    if container not in MP4_FAMILY or not tags:  # Matroska takes any
        return []
    file = BytesIO()
    with av.open(file, "w", format=container) as trial:
        trial.add_mux_stream("mov_text", time_base=Fraction(1, 1000))
        trial.metadata.update(tags)
        trial.start_encoding()
    file.seek(0)
    with av.open(file) as written:
        kept = {key.lower() for key in written.metadata}
    return [key for key in tags if key.lower() not in kept]


def lost_stream_tags(tags: Collection[str], container: str) -> list[str]:
    """The keys of tags of a stream that a container of that format has no place for."""
    return [key for key in tags if key.lower() not in _MP4_STREAM_TAGS] if container in MP4_FAMILY else []


def lost_disposition(disposition: Disposition, container: str) -> Disposition:
    """The marks (forced, comment, ...) that a container of that format has no place for."""
    return disposition & ~_MARKS.get(container, disposition)
