"""Probe a video or an image sequence without reading it through."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from patchvsr.errors import InputError, SettingsError
from patchvsr.media.color import FULL, MATRICES, RGB, ColorTags, bit_depth, has_alpha, is_rgb
from patchvsr.media.hdr import lost_side_data, read_hdr
from patchvsr.media.images import reader as images
from patchvsr.media.images.names import is_sequence
from patchvsr.media.info import StreamInfo, VideoInfo, check_size

__all__ = ["ColorTags", "StreamInfo", "VideoInfo", "open_container", "probe", "video_stream"]

# Enough to detect interlaced video whose first frames, such as a title card, are not flagged.
_FRAMES_LOOKED_AT = 5
# Formats that name other files or addresses, which FFmpeg would read: no file to be known again by its bytes, and for a
# service a way out of its folders.
_LISTS_OF_FILES = {"concat", "dash", "hls", "imf", "rtsp", "sdp"}


def probe(path: str | Path, *, rate: Fraction | None = None) -> VideoInfo:
    """Describe the video at `path`: a media file, a folder of images, or a pattern such as `in/%06d.png`.

    A few frames are decoded, because rotation, interlacing and the true pixel format are known only then.

    rate: frames per second of images, which carry no timing; default 24.

    Raises InputError if the file is missing, not a media file, without video, empty or unsupported.
    Raises SettingsError if a rate is given for a media file.
    """
    if is_sequence(path):
        return images.probe_images(path, rate=rate)
    if rate is not None:
        raise SettingsError(f"rate {rate}: {path} has its own timestamps; a rate applies to image sequences only")
    with open_container(path) as container:
        stream = video_stream(container, path)
        return _describe(container, stream, _first_frames(container, stream, path), Path(path))


def open_container(path: str | Path) -> InputContainer:
    """Open a media file for reading; raise InputError if that fails or if it is a list of other files."""
    # FFmpeg reads "name:rest" as a protocol, but an absolute path always as a file.
    file = Path(path).absolute()
    if not file.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        # Tags in a legacy text encoding must not make a good video unreadable.
        container = av.open(str(file), metadata_errors="replace")
    except (av.FFmpegError, OSError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise InputError(
            f"{path}: not a readable media file ({reason.lower()}); it is damaged, incomplete or not a video"
        ) from err
    if set(container.format.name.split(",")) & _LISTS_OF_FILES:
        container.close()
        raise InputError(
            f"{path}: is a list of other files ({container.format.name}); give a file that holds the video, "
            "such as `ffmpeg -i LIST -map 0 -c copy out.mkv` makes"
        )
    return container


def video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """Return the first video stream that is not cover art; raise InputError if there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    found = ", ".join(s.type for s in container.streams) or "nothing"
    raise InputError(f"{path}: no video stream (found: {found}); give a file with video")


def describe_stream(stream: Stream) -> StreamInfo:
    """Return a description of a stream that outlives its container."""
    language = stream.metadata.get("language")
    return StreamInfo(
        index=stream.index,
        type=stream.type,
        # A stream without a decoder has no codec context, and may lack even a name.
        codec=(
            stream.codec_context.codec.canonical_name
            if stream.codec_context
            else (getattr(stream, "name", None) or "unknown")
        ),
        language=None if language == "und" else language,
        title=stream.metadata.get("title") or stream.metadata.get("name"),  # the MP4 demuxer calls it name
        attached_picture=bool(stream.disposition & Disposition.attached_pic),
    )


def _first_frames(container: InputContainer, stream: VideoStream, path: str | Path) -> list[av.VideoFrame]:
    if stream.codec_context is None:
        raise InputError(f"{path}: no decoder for its video codec; convert it to H.264 first")
    if not stream.width or not stream.height:
        raise InputError(f"{path}: its video has no size; the file is empty or damaged")
    check_size(path, stream.width, stream.height)
    frames: list[av.VideoFrame] = []
    error: Exception | None = None
    try:
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except av.FFmpegError as err:  # a recording may start between key frames
                error = error or err
                if packet.is_keyframe:
                    break
            if len(frames) >= _FRAMES_LOOKED_AT:
                break
    except (av.FFmpegError, IndexError) as err:  # IndexError: PyAV finds a stream that was not there on opening
        error = error or err
    if not frames:  # the reader reports later damage, with the frame number
        raise InputError(f"{path}: no frame of its video can be decoded; the file is damaged") from error
    return frames


def _describe(container: InputContainer, stream: VideoStream, frames: list[av.VideoFrame], path: Path) -> VideoInfo:
    frame = frames[0]
    check_size(path, frame.width, frame.height)
    stored = _color_tags(stream, frame)
    color = stored.resolved(frame.height)
    if color.matrix != RGB and color.matrix not in MATRICES:
        raise InputError(
            f"{path}: color matrix {color.matrix} (H.273) is not supported; convert it to BT.709 or BT.2020 first"
        )
    depth = bit_depth(frame.format)
    if depth > 16:
        raise InputError(f"{path}: {depth} bits a component; at most 16 are supported")
    assert stream.time_base is not None
    return VideoInfo(
        path=path,
        container=container.format.name,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        bit_depth=depth,
        average_rate=stream.average_rate or stream.guessed_rate,
        time_base=stream.time_base,
        start_pts=stream.start_time or 0,
        duration_s=_duration_s(container, stream),
        declared_frames=stream.frames or None,
        color=color,
        stored_color=stored,
        chroma_unsited=_chroma_unsited(stream),
        sample_aspect_ratio=stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or None,
        rotation=frame.rotation,
        interlaced=any(f.interlaced_frame for f in frames),
        codec=stream.codec_context.name,
        video_index=stream.index,
        streams=tuple(describe_stream(s) for s in container.streams),
        hdr=read_hdr(frame),
        lost_side_data=lost_side_data(frame),
        has_alpha=has_alpha(frame),
    )


def _color_tags(stream: VideoStream, frame: av.VideoFrame) -> ColorTags:
    if is_rgb(frame.format):
        return ColorTags(int(frame.color_primaries), int(frame.color_trc), RGB, int(frame.color_range))
    full = frame.format.name.startswith("yuvj")  # a deprecated name for full range
    stored_range = FULL if full else int(frame.color_range) or int(stream.color_range)
    return ColorTags(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), stored_range)


def _chroma_unsited(stream: VideoStream) -> bool:
    """Return whether the decoder leaves the chroma location unspecified, which swscale would read as centre."""
    context = stream.codec_context
    if context.codec.canonical_name == "av1":
        header = context.extradata or b""  # av1C, the configuration record in MP4 and Matroska
        return len(header) < 3 or header[2] & 3 == 0  # chroma_sample_position: 0 is unknown
    return context.codec.canonical_name in ("vp8", "vp9", "ffv1")


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return float(Fraction(container.duration, av.time_base))
    return None
