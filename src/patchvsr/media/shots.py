"""Detect shot cuts with PySceneDetect in a stream of frames.

A missed cut costs the next frame up to 9 dB, a false cut almost nothing, so the thresholds favour false cuts. They were
chosen on the project's training videos (5,792 frames, one shot each). There they give 18 false cuts, ten of them in the
first or last two frames of a file, which have fewer neighbours. They miss none of 80 cuts between different videos,
also none with both videos darkened to a fifth under grain, and one of 23 jump cuts inside a scene (darkened: 17).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

# Scores are mean changes from the previous frame, 0 to 255: of hue, saturation and value, or of value alone, because
# in the dark the other two are mostly grain. A cut reaches this score and exceeds the mean of its neighbours by this
# ratio. A value score above SURE_VALUE_SCORE is a cut even next to another one, as for single frames of a montage.
COLOUR_SCORE, COLOUR_RATIO = 3.0, 2.5
VALUE_SCORE, VALUE_RATIO = 2.0, 3.0
SURE_VALUE_SCORE = 30.0
NEIGHBOURS = 2  # on each side

LONG_SIDE = 256  # pixels; a larger size adds only grain
_RATE = 25.0  # arbitrary, but timecodes need a rate


def mark_cuts(frames: Iterable[np.ndarray]) -> Iterator[tuple[bool, np.ndarray]]:
    """Yield (whether the frame starts a shot, frame); the first frame always does.

    frames: (H, W, 3) RGB of one size, uint8 or uint16. They come out in order and unchanged, `NEIGHBOURS` frames late;
    at most `NEIGHBOURS` + 1 are held.
    """
    detectors = (
        _adaptive(COLOUR_RATIO, COLOUR_SCORE),
        _adaptive(VALUE_RATIO, VALUE_SCORE, luma_only=True),
        ContentDetector(SURE_VALUE_SCORE, min_scene_len=1, luma_only=True),
    )
    cuts: set[int] = set()
    held: deque[np.ndarray] = deque(maxlen=NEIGHBOURS + 1)
    for position, frame in enumerate(_padded(frames)):
        held.append(frame)
        small = _small_bgr(frame)
        for detector in detectors:
            found = detector.process_frame(FrameTimecode(position, _RATE), small)
            cuts.update(timecode.frame_num for timecode in found)
        decided = position - NEIGHBOURS
        if decided >= NEIGHBOURS:  # earlier positions are padding
            yield decided == NEIGHBOURS or decided in cuts, held[0]
            cuts.discard(decided)


def _adaptive(ratio: float, score: float, *, luma_only: bool = False) -> AdaptiveDetector:
    return AdaptiveDetector(ratio, min_scene_len=1, window_width=NEIGHBOURS, min_content_val=score, luma_only=luma_only)


def _padded(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Repeat the first and the last frame, since the detectors judge only frames with neighbours on both sides."""
    frame = None
    for index, frame in enumerate(frames):
        if index == 0:
            yield from repeat(frame, NEIGHBOURS)
        yield frame
    if frame is not None:
        yield from repeat(frame, NEIGHBOURS)


def _small_bgr(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    factor = min(1.0, LONG_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint16:
        small = np.right_shift(small, 8).astype(np.uint8)
    return cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
