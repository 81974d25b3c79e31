"""Read the frames of a job's input by number and check them against the scan."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from patchvsr.errors import InputError
from patchvsr.jobs.scan import Scan, frame_crc
from patchvsr.media import Frame, ReadSettings, open_reader
from patchvsr.media.frames import FrameReader

FAR_FRAMES = 250  # ahead, from which on seeking is faster: about the distance of key frames


class FrameSource:
    """Read runs of frames, mostly in forward order. Holds the frames of one run.

    Reading starts at the first frame requested, and anew if one is further back or far ahead. If a frame reached by
    seeking differs from the scanned one or cannot be decoded, as after some open GOPs, the input is read from the
    beginning instead.
    """

    def __init__(self, path: str | Path, settings: ReadSettings, scan: Scan) -> None:
        self._path, self._settings, self._scan = path, settings, scan
        self._reader: FrameReader | None = None
        self._seeked = False
        self._held: deque[tuple[int, Frame]] = deque()
        self._next = 0

    def take(self, start: int, stop: int) -> list[Frame]:
        """Return frames start to stop - 1. Raises InputError if the input differs from the scan."""
        back = start < (self._held[0][0] if self._held else self._next)
        if self._reader is None or back or start > self._next + FAR_FRAMES:
            self.close()
            self._held.clear()
            self._begin(start, seek=True)
        while self._held and self._held[0][0] < start:
            self._held.popleft()
        while self._next < stop:
            frame = self._read()
            if frame is None:
                self.close()
                self._begin(self._next, seek=False)
            elif self._next - 1 >= start:
                self._held.append((self._next - 1, frame))
        return [frame for number, frame in self._held if number < stop]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _begin(self, number: int, *, seek: bool) -> None:
        self._seeked = seek and number > 0
        pts = self._scan.pts[number] if self._seeked else None
        self._reader = open_reader(self._path, self._settings, resume_pts=pts, seek=self._seeked)
        if not self._seeked:
            for _ in range(number):
                next(self._reader, None)
        self._next = number

    def _read(self) -> Frame | None:
        """Return the next frame, or None if it differs from the scan and seeking may be the cause."""
        assert self._reader is not None
        number = self._next
        try:
            frame = next(self._reader, None)
        except InputError:
            if self._seeked:
                return None
            raise
        if frame is not None and frame.pts == self._scan.pts[number] and frame_crc(frame) == self._scan.crcs[number]:
            self._next += 1
            return frame
        if self._seeked:
            return None
        path = self._reader.info.path
        raise InputError(f"{path}: frame {number} is not what it was when the job began; has the file been changed?")
