"""Compare every frame of a job with its input before and after encoding, so that nothing wrong is published."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import av
import numpy as np

from patchvsr.errors import UnfaithfulError
from patchvsr.jobs.plan import Chunk, Unit
from patchvsr.jobs.scan import Scan
from patchvsr.media import Frame
from patchvsr.media.segment import EncodedFrame, FrameDecoder, FrameEncoder
from patchvsr.pixels.compare import (
    COARSE,
    DECODING,
    ENCODED,
    ENCODED_CELL_PX,
    MATCHED,
    UNMATCHED,
    check,
    find_fault,
    grid_of,
    size_of,
    thumbnail,
)
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings

COLOUR_MATCHING, ENCODING = "colour matching", "encoding"

_ADVICE = {
    DECODING: "try --dtype float32, or another --device or --model",
    COLOUR_MATCHING: "try --no-color-match",
    ENCODING: "try another --codec or --pix-fmt",
}

# Makes an error about a frame, counted from the first of a chunk or unit, ready to be raised.
Placed = Callable[[UnfaithfulError, Frame], UnfaithfulError]


class FrameCheck:
    """Check the frames of a job. What the decoder gives is checked in `ClipDecoder`; here its errors get their place.

    settings: `check` switches everything off.
    """

    def __init__(self, settings: ResolvedSettings, scan: Scan) -> None:
        self._on, self._matched, self._scan = settings.check, settings.color_match, scan

    def restored(self, clip: Iterable[Frame], frames: list[Frame], chunk: Chunk) -> Iterator[Frame]:
        """Yield the restored frames of a chunk, each compared with its input.

        frames: of the input, those included that the previous chunk shares.

        Raises UnfaithfulError.
        """
        stage, limits = (COLOUR_MATCHING, MATCHED) if self._matched else (DECODING, UNMATCHED)
        try:
            for index, frame in enumerate(clip, chunk.shared):
                if self._on:
                    check(frames[index].rgb, frame.rgb, limits, stage, index)
                yield frame
        except UnfaithfulError as error:
            raise self._placed(chunk.start, error, frames[error.frame]) from error

    def encoder(self, encoder: FrameEncoder, unit: Unit) -> FrameEncoder:
        """Return an encoder of the same bytes that raises UnfaithfulError if they do not decode to what was encoded."""
        decoder = encoder.decoder() if self._on else None
        placed = partial(self._placed, unit.frames.start)
        return encoder if decoder is None else CheckedEncoder(encoder, decoder, placed)

    def _placed(self, first: int, error: UnfaithfulError, frame: Frame) -> UnfaithfulError:
        """Return an error with the frame's number and time in the output, and what to do."""
        number, time_s = first + error.frame, float((frame.pts - self._scan.pts[0]) * frame.time_base)
        return UnfaithfulError(
            error.stage,
            number,
            error.fault,
            f"frame {number} at {time_s:.3f} s is wrong after {error.stage}: it {error.fault}; no output was written, "
            "finished units are kept. Run the same command again; if the error comes back, "
            f"{_ADVICE[error.stage]}, or continue without this check: --no-check",
        )


class CheckedEncoder(FrameEncoder):
    """Pass on what an encoder gives, decode it, and compare it with the frames that went in.

    decoder: of the same encoder.
    """

    def __init__(self, encoder: FrameEncoder, decoder: FrameDecoder, placed: Placed) -> None:
        self._encoder, self._decoder, self._placed = encoder, decoder, placed
        self._limits = COARSE if decoder.is_coarse else ENCODED
        self._waiting: deque[Frame] = deque()  # with thumbnails as pixels
        self._count = 0
        self._size = self._grid = Size(1, 1)  # known from the first frame on

    def encode(self, frame: Frame) -> list[EncodedFrame]:
        expected = self._decoder.expected(frame)
        self._size = size_of(expected)
        self._grid = grid_of(self._size, min_cell_px=ENCODED_CELL_PX)
        self._waiting.append(replace(frame, rgb=thumbnail(expected, self._grid), alpha=None))
        return self._checked(self._encoder.encode(frame))

    def finish(self) -> list[EncodedFrame]:
        encoded_frames = self._checked(self._encoder.finish())
        self._compare(partial(self._decoder.finish, self._grid))
        if self._waiting:
            raise self._error("is missing")
        return encoded_frames

    def decoder(self) -> None:
        return None

    def _checked(self, encoded_frames: list[EncodedFrame]) -> list[EncodedFrame]:
        for encoded in encoded_frames:
            self._compare(partial(self._decoder.decode, encoded, self._grid))
        return encoded_frames

    def _compare(self, decode: Callable[[], list[np.ndarray]]) -> None:
        """Compare the thumbnails that `decode` returns, which are the next frames in the order they went in."""
        try:
            made = decode()
        except av.FFmpegError as error:
            raise self._error(f"cannot be decoded ({error})") from error
        for picture in made:
            fault = find_fault(self._waiting[0].rgb, picture, self._limits, self._size)
            if fault is not None:
                raise self._error(fault)
            self._waiting.popleft()
            self._count += 1

    def _error(self, fault: str) -> UnfaithfulError:
        return self._placed(UnfaithfulError(ENCODING, self._count, fault), self._waiting[0])
