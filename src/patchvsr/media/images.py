"""PNG sequences with the interface of a video: a folder, a pattern such as `out/%06d.png`, or one PNG.

Images have no time: reading gives 24 frames a second, and writing drops the times of its frames.
Grey and palette images become RGB; transparency is dropped.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from fractions import Fraction
from math import ceil
from pathlib import Path

import av
import numpy as np

from patchvsr.errors import InputError, OutputError
from patchvsr.media import publish
from patchvsr.media.color import FULL, RGB, UNSPECIFIED, ColorConverter, ColorTags, bit_depth, is_rgb
from patchvsr.media.frames import Frame, FrameReader, FrameWriter
from patchvsr.media.info import StreamInfo, VideoInfo, check_size

NOMINAL_RATE = 24
DEFAULT_PATTERN = "%06d.png"
_PLACEHOLDER = re.compile(r"%0?(\d*)d")


def is_sequence(path: str | Path) -> bool:
    """Whether `path` means PNG images: an existing folder, a `.png` name, or a name without a suffix."""
    file = Path(path)
    if file.is_file():
        return file.suffix.lower() == ".png"
    return file.is_dir() or file.suffix.lower() == ".png"


def means_sequence(path: str | Path) -> bool:
    """Whether an output path means PNG images: as for input, and a name without a suffix is a new folder."""
    return is_sequence(path) or not Path(path).suffix


def list_images(path: str | Path) -> list[Path]:
    """The files of a sequence in natural order (2 before 10); raises InputError when there are none."""
    folder, pattern = _split(path)
    if not folder.is_dir():
        raise InputError(f"{path}: no such folder; check the path")
    matches = re.compile(_regex(pattern) if pattern else r".*\.png", re.IGNORECASE)
    # Hidden files are thumbnails and leftovers, never frames.
    names = (f for f in folder.iterdir() if f.name[0] != "." and f.is_file())
    files = sorted((f for f in names if matches.fullmatch(f.name)), key=_natural)
    if not files:
        raise InputError(f"{path}: no PNG image found; give a folder with PNGs or a pattern such as in/%06d.png")
    return files


def probe_images(path: str | Path) -> VideoInfo:
    """Describe a sequence by its first image; raises InputError."""
    files = list_images(path)
    frame = _load(files[0])
    tags = _tags(frame)
    return VideoInfo(
        path=Path(path),
        container="image2",
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        bit_depth=8 if bit_depth(frame.format) <= 8 else 16,
        average_rate=Fraction(NOMINAL_RATE),
        time_base=Fraction(1, NOMINAL_RATE),
        start_pts=0,
        duration_s=len(files) / NOMINAL_RATE,
        declared_frames=len(files),
        color=tags,
        stored_color=tags,
        chroma_unsited=False,
        sample_aspect_ratio=None,
        rotation=0,
        interlaced=False,
        codec="png",
        video_index=0,
        streams=(StreamInfo(index=0, type="video", codec="png"),),
    )


class ImageReader(FrameReader):
    """Frames of a sequence; the counterpart of `reader.VideoReader`."""

    def __init__(
        self, path: str | Path, *, start_s: float | None, end_s: float | None, resume_pts: int | None = None
    ) -> None:
        self.info = probe_images(path)
        files = list_images(path)
        first, last = _ticks(start_s, 0), _ticks(end_s, len(files))
        if resume_pts is not None:
            if not first <= resume_pts < min(last, len(files)):
                raise InputError(f"{path}: no image number {resume_pts} to resume from; have files been removed?")
            first = resume_pts
        self._files = list(enumerate(files))[first:last]
        if not self._files:
            raise InputError(
                f"{path}: start {start_s} s is past the last image at {(len(files) - 1) / NOMINAL_RATE:.3f} s"
            )
        self._converter = ColorConverter(self.info.color)
        self._frames = self._read()

    def _read(self) -> Generator[Frame]:
        for index, file in self._files:
            frame = _load(file)
            self._check(frame, file)
            yield Frame(self._converter.to_rgb(frame), index, 1, self.info.time_base)

    def _check(self, frame: av.VideoFrame, file: Path) -> None:
        info = self.info
        depth = 8 if bit_depth(frame.format) <= 8 else 16
        if (frame.width, frame.height, depth) != (info.width, info.height, info.bit_depth):
            raise InputError(
                f"{file}: {frame.width}x{frame.height} with {depth} bits, but the sequence starts with "
                f"{info.width}x{info.height} with {info.bit_depth} bits; all images must be alike"
            )


class ImageWriter(FrameWriter):
    """Writes a sequence; the counterpart of `writer.VideoWriter`.

    Images are collected in a hidden folder and moved to their names by `close`. 8 or 16 bits as
    `bit_depth` says. A path without a placeholder that ends in `.png` takes exactly one frame.
    """

    def __init__(self, path: str | Path, *, width: int, height: int, bit_depth: int, overwrite: bool) -> None:
        self.frames_written = 0
        self._size = (height, width, 3)
        self._done = False
        self._folder, pattern = _split(path)
        self._pattern = pattern or DEFAULT_PATTERN
        self._path, self._overwrite = Path(path), overwrite
        self._existing = self._find_existing()
        if self._existing and not overwrite:
            raise OutputError(f"{path}: already holds {len(self._existing)} images; use --overwrite or another name")
        self._pix_fmt = "rgb24" if bit_depth <= 8 else "rgb48be"
        self._converter = ColorConverter(ColorTags(matrix=RGB, range=FULL))
        self._temporary = publish.temporary_folder(self._folder, self._pattern)

    def write(self, frame: Frame) -> None:
        """Write one image; raises OutputError (disk full) and ValueError (frame of another size)."""
        if frame.rgb.shape != self._size:
            raise ValueError(f"frame is {frame.rgb.shape}, the writer was opened for {self._size}")
        name = self._name(self.frames_written + 1)
        with publish.reported(self._path, self.abort):
            (self._temporary / name).write_bytes(self._encode(frame.rgb))
        self.frames_written += 1

    def close(self) -> None:
        """Move the images to their names; raises OutputError."""
        if self._done:
            return
        if not self.frames_written:
            self.abort()
            raise OutputError(f"{self._path}: no frame was written; nothing was created")
        with publish.reported(self._path, self.abort):
            for file in self._existing:
                file.unlink()
            publish.move_files(self._temporary, self._folder)
        self._done = True

    def abort(self) -> None:
        """Remove everything this writer made."""
        publish.remove_folder(self._temporary)

    def _encode(self, rgb: np.ndarray) -> bytes:
        frame = self._converter.from_rgb(rgb, self._pix_fmt)
        encoder = av.CodecContext.create("png", "w")
        encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, self._pix_fmt
        encoder.time_base = Fraction(1, NOMINAL_RATE)
        encoder.thread_count = 1
        return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])

    def _name(self, number: int) -> str:
        if _PLACEHOLDER.search(self._pattern):
            return self._pattern % number
        if number > 1:
            raise OutputError(
                f"{self._path}: one PNG holds one frame; give a pattern such as out/%06d.png or a video name"
            )
        return self._pattern

    def _find_existing(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        matches = re.compile(_regex(self._pattern))
        return [f for f in self._folder.iterdir() if matches.fullmatch(f.name)]


def _split(path: str | Path) -> tuple[Path, str | None]:
    """(folder, file name pattern); a folder alone has no pattern."""
    file = Path(path)
    if file.suffix.lower() == ".png" and not file.is_dir():
        return file.parent, file.name
    return file, None


def _regex(pattern: str) -> str:
    """A file name pattern as a regular expression; a name without a placeholder matches itself."""
    placeholder = _PLACEHOLDER.search(pattern)
    if not placeholder:
        return re.escape(pattern)
    before, after = pattern[: placeholder.start()], pattern[placeholder.end() :]
    width = placeholder.group(1)
    return re.escape(before) + (rf"\d{{{int(width)},}}" if width else r"\d+") + re.escape(after)


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sort key that compares runs of digits as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _ticks(seconds: float | None, default: int) -> int:
    return default if seconds is None else ceil(Fraction(str(seconds)) * NOMINAL_RATE)


def _load(file: Path) -> av.VideoFrame:
    try:
        with file.open("rb") as data:  # the decoder would ask for the memory first
            check_size(file, *struct.unpack(">II", data.read(24)[16:]))
        with av.open(str(file.absolute()), format="png_pipe") as container:
            return next(container.decode(video=0))
    except (av.FFmpegError, OSError, struct.error, StopIteration, IndexError) as err:
        raise InputError(f"{file}: not a readable PNG image; replace or remove it") from err


def _tags(frame: av.VideoFrame) -> ColorTags:
    if is_rgb(frame.format):
        return ColorTags(matrix=RGB, range=FULL)
    return ColorTags(matrix=UNSPECIFIED, range=FULL).resolved(frame.height)  # grey: only the range matters
