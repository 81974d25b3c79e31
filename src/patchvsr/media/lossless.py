"""Write frames as 8-bit RGB without loss (FFV1 in Matroska), one frame at a time."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
from av.video.stream import VideoStream
from torch import Tensor

from patchvsr.errors import OutputError
from patchvsr.media.tensors import to_array

# A multiple of the usual frame rates. Matroska itself rounds to milliseconds.
_TIME_BASE = Fraction(1, 90_000)


class LosslessWriter:
    """Write frames to a new FFV1 file: `with LosslessWriter(path) as writer: writer.write(frame, time_s)`.

    Raises:
        OutputError: the file exists (it is never replaced) or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise OutputError(f"{path} exists; remove it or choose another name")
        try:
            self._container = av.open(str(path), "w", format="matroska")
        except (OSError, av.FFmpegError) as error:
            raise OutputError(f"cannot write {path}: {error}") from error
        self._stream: VideoStream | None = None

    def write(self, frame: Tensor, time_s: Fraction) -> None:
        """Append one frame (3, H, W) in [0, 1], rounded to 8 bits, with its time in seconds."""
        picture = av.VideoFrame.from_ndarray(to_array(frame), format="rgb24").reformat(format="bgr0")
        picture.time_base = _TIME_BASE
        picture.pts = round(time_s / _TIME_BASE)
        if self._stream is None:
            self._stream = self._add_stream(picture.width, picture.height)
        self._container.mux(self._stream.encode(picture))

    def _add_stream(self, width: int, height: int) -> VideoStream:
        # 24 is only the nominal rate in the header; every frame carries its own time.
        stream = self._container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        stream.codec_context.time_base = _TIME_BASE
        return stream

    def __enter__(self) -> "LosslessWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None and error is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
