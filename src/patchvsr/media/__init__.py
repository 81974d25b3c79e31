"""Read and write video files and image sequences with PyAV, without any model code.

Every frame carries its exact time from demuxer to muxer. Streams other than the video are copied. A file is read
completely or refused. An output appears under its name only when it is complete.
"""

from patchvsr.media.color import ColorTags
from patchvsr.media.frames import Frame
from patchvsr.media.info import StreamInfo, VideoInfo
from patchvsr.media.output import FrameTimes, Output
from patchvsr.media.probe import probe
from patchvsr.media.reader import open_reader
from patchvsr.media.settings import EncodeSettings, ReadSettings
from patchvsr.media.writer import open_output, open_writer, refuse_existing

__all__ = [
    "ColorTags",
    "EncodeSettings",
    "Frame",
    "FrameTimes",
    "Output",
    "ReadSettings",
    "StreamInfo",
    "VideoInfo",
    "open_output",
    "open_reader",
    "open_writer",
    "probe",
    "refuse_existing",
]
