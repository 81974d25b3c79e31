"""Copy cover art between containers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from patchvsr.media.probe import open_container
from patchvsr.media.streams.containers import fits

# MIME types and file suffixes of the pictures that Matroska attachments can hold.
_MIMETYPES = {"png": "image/png", "mjpeg": "image/jpeg", "gif": "image/gif", "tiff": "image/tiff"}
_SUFFIXES = {"png": "png", "mjpeg": "jpg", "gif": "gif", "tiff": "tif"}


def read_pictures(path: Path, indexes: Collection[int]) -> dict[int, Packet]:
    """Return the packet of each attached-picture stream in `indexes`; demuxers return them first."""
    pictures: dict[int, Packet] = {}
    if not indexes:
        return pictures
    with open_container(path) as container:
        for packet in container.demux(*(container.streams[i] for i in indexes)):
            if packet.size:
                pictures.setdefault(packet.stream.index, packet)
            if len(pictures) == len(indexes):
                break
    return pictures


def add_picture(output: OutputContainer, source: VideoStream, picture: Packet) -> VideoStream | None:
    """Add a picture to `output`; return the stream into which its packet must be muxed, or None if it is complete.

    Matroska stores pictures as attachments, MP4 as streams of one packet. Raises ValueError if the container cannot
    hold the picture. (The MOV muxer accepts pictures but writes nothing.)
    """
    codec = source.codec_context.codec.canonical_name
    if output.format.name == "matroska" and codec in _MIMETYPES:
        name = source.metadata.get("filename") or f"cover.{_SUFFIXES[codec]}"
        attachment = output.add_attachment(name, _MIMETYPES[codec], bytes(picture))
        attachment.metadata.update({k: v for k, v in source.metadata.items() if k in ("title", "comment")})
        return None
    if output.format.name == "mp4" and fits(source, "mp4"):
        target = output.add_stream_from_template(source, opaque=True)
        target.disposition = Disposition.attached_pic  # with other flags the muxer treats it as a video
        return target
    raise ValueError(f"{output.format.name} holds no {codec} pictures")
