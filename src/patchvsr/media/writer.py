"""Open and validate an output, or write one in a single pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from patchvsr import files
from patchvsr.errors import OutputError, SettingsError
from patchvsr.media.encoders import choose_encoder
from patchvsr.media.frames import Frame, FrameWriter
from patchvsr.media.images.files import SEQUENCE
from patchvsr.media.images.names import list_images, means_sequence, output_images
from patchvsr.media.images.output import ImageOutput
from patchvsr.media.info import VideoInfo
from patchvsr.media.output import FrameTimes, Output
from patchvsr.media.reader import range_pts
from patchvsr.media.segment import SegmentWriter, read_segments
from patchvsr.media.settings import EncodeSettings, ReadSettings
from patchvsr.media.video_output import VideoOutput
from patchvsr.pixels.size import Size

__all__ = ["FileWriter", "open_output", "open_writer", "refuse_existing"]


def open_output(
    path: str | Path,
    *,
    source: VideoInfo,
    size: Size,
    settings: EncodeSettings | None = None,
    read: ReadSettings | None = None,
) -> Output:
    """Return a validated output for frames of `size` made from `source`; write nothing there.

    path: a folder, a name without a suffix, or a pattern such as `out/%06d.png` gives images (8 or 16 bits like the
        source; `settings` and other streams do not apply). Any other name gives a video.
    read: its range is that of the source; frames and packets are shifted so that it starts at 0.

    Raises OutputError for an unknown file type or a stream that does not fit.
    Raises SettingsError for an impossible codec, option or pixel format, or a stream to leave out that is not there.
    """
    settings = settings or EncodeSettings()
    path = Path(path)
    _check_skipped(settings.skip_streams, source)
    if means_sequence(path):
        return ImageOutput(path, source=source, size=size)
    encoder = choose_encoder(settings, source, size, output=path)
    first, last = range_pts(source, read or ReadSettings())
    return VideoOutput(
        path,
        source=source,
        size=size,
        encoder=encoder,
        first_pts=first,
        last_pts=last,
        skip_streams=settings.skip_streams,
    )


def _check_skipped(skip_streams: Collection[int], source: VideoInfo) -> None:
    others = [stream.index for stream in source.streams if stream.index != source.video_index]
    for index in skip_streams:
        if index not in others:
            found = ", ".join(map(str, others)) or "none"
            raise SettingsError(
                f"stream {index} of {source.path} cannot be left out: the streams besides its video are {found}"
            )


def refuse_existing(path: str | Path, source: VideoInfo, *, overwrite: bool) -> None:
    """Raise OutputError if the output is the input, or exists and must not be overwritten."""
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise OutputError(f"{path}: is a link to nothing; is a disk missing? Remove the link or choose another name")
    if means_sequence(path):
        existing = output_images(path)
        if existing and source.container == SEQUENCE and _share(existing, list_images(source.path)):
            raise OutputError(f"{path}: holds images of the input; choose another name")
        if existing and not overwrite:
            raise OutputError(f"{path}: already holds {len(existing)} images; use --overwrite or another name")
    elif path.exists():
        if source.path.exists() and path.samefile(source.path):
            raise OutputError(f"{path}: is the input; choose another name")
        if not overwrite:
            raise OutputError(f"{path}: already exists; use --overwrite or another name")


def _share(some: Iterable[Path], others: Iterable[Path]) -> bool:
    """Return whether both lists contain the same file, under any path."""
    known = {(found.st_dev, found.st_ino) for found in (file.stat() for file in others)}
    return any((found.st_dev, found.st_ino) in known for found in (file.stat() for file in some))


def open_writer(
    path: str | Path,
    *,
    source: VideoInfo,
    size: Size,
    settings: EncodeSettings | None = None,
    read: ReadSettings | None = None,
) -> FileWriter:
    """Return a writer for a whole output in a single pass; missing folders are created.

    Arguments and errors are those of `open_output`. Everything is validated before a frame is written. Also raises
    OutputError if the output exists and may not be overwritten.
    """
    settings = settings or EncodeSettings()
    refuse_existing(path, source, overwrite=settings.overwrite)
    return FileWriter(open_output(path, source=source, size=size, settings=settings, read=read))


class FileWriter(FrameWriter):
    """Write one segment to a hidden folder beside the output, then assemble it; see `open_writer`.

    Frames must come in order, in the size and time base for which the output was opened; otherwise ValueError is
    raised.
    """

    def __init__(self, output: Output) -> None:
        self.notices = output.notices
        self._output = output
        self._pts: list[int] = []
        self._durations: list[int | None] = []
        self._done = False
        self._folder = files.temporary_folder(output.path)
        try:
            self._segment = SegmentWriter(self._folder / "segment.bin", output.encoder())
        except BaseException:
            self.abort()
            raise

    @property
    def frames_written(self) -> int:  # type: ignore[override]
        return len(self._pts)

    def write(self, frame: Frame) -> None:
        """Encode one frame; raise OutputError if it cannot be written."""
        if self._pts and frame.pts <= self._pts[-1]:
            raise ValueError(f"frame has pts {frame.pts}, not after the previous frame")
        with files.reported(self._output.path, self.abort):
            self._segment.write(frame)
        self._pts.append(frame.pts)
        self._durations.append(frame.duration)

    def close(self) -> None:
        """Finish and check the output, then rename it to its path; raise OutputError if that fails."""
        if self._done:
            return
        with files.reported(self._output.path, self.abort):
            if not self._pts:
                raise OutputError(f"{self._output.path}: no frame was written; nothing was created")
            table = self._segment.close()
            frames = read_segments([(self._folder / "segment.bin", table)])
            times = FrameTimes(self._pts, self._durations)
            self._output.assemble(frames, times, reorder=table.reorder, folder=self._folder)
            self._output.publish(self._folder)
        files.remove_folder(self._folder)
        self._done = True

    def abort(self) -> None:
        """Discard the output and all its temporary files."""
        files.remove_folder(self._folder)
