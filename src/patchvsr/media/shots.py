"""Where one shot ends and the next begins, found with PySceneDetect while the frames pass by.

A missed cut costs the next frame up to 9 dB, a false one next to nothing, so the thresholds prefer false cuts.
Chosen on the 5,792 frames of the project's training videos (one shot each): 16 false cuts, none of 400 cuts between
different videos missed, and of 23 jump cuts inside one scene all but one found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

# Scores are mean changes of hue, saturation and value, 0 to 255, from the frame before.
SURE_SCORE = 27.0  # a cut whatever its neighbours are: shots of one or two frames follow each other like this
LEAST_SCORE = 3.0  # a cut only where it stands out of its neighbours by this factor:
LEAST_RATIO = 2.5
NEIGHBOURS = 2  # on each side

LONG_SIDE = 256  # pixels; more shows the detectors only grain
_RATE = 25.0  # timecodes need one, and nothing here depends on it


def mark_cuts(frames: Iterable[np.ndarray]) -> Iterator[tuple[bool, np.ndarray]]:
    """Each frame with whether it is the first of a shot; the very first always is.

    frames: (H, W, 3) RGB of one size, uint8 or uint16. They come out in order and unchanged, `NEIGHBOURS` frames
    later than they went in; never more than that and one are held.
    """
    detectors = (
        ContentDetector(SURE_SCORE, min_scene_len=1),
        AdaptiveDetector(LEAST_RATIO, min_scene_len=1, window_width=NEIGHBOURS, min_content_val=LEAST_SCORE),
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
        if decided >= NEIGHBOURS:  # before that there is padding
            yield decided == NEIGHBOURS or decided in cuts, held[0]
            cuts.discard(decided)


def detect_shots(frames: Iterable[np.ndarray]) -> list[range]:
    """Frame numbers of every shot, without gaps; of a file: `detect_shots(frame.rgb for frame in open_reader(path))`.

    frames: (H, W, 3) RGB of one size, uint8 or uint16.
    """
    starts, count = [], 0
    for count, (is_first, _) in enumerate(mark_cuts(frames), 1):
        if is_first:
            starts.append(count - 1)
    return [range(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]


def _padded(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """First and last frame repeated: only frames with neighbours on both sides are looked at."""
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
        small = (small >> 8).astype(np.uint8)
    return cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
