"""The progress bar of a node. It is also where a cancel is heard."""

from __future__ import annotations

import logging

import comfy.model_management
from comfy.utils import ProgressBar
from PIL import Image

from patchvsr import events
from patchvsr.media import Frame

PREVIEW_PX = 512
SCANNED_AT_ONCE = 50  # frames; each step of the bar is a message to the browser


def stop_if_cancelled() -> None:
    """Raise ComfyUI's exception if the user has cancelled."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class Progress:
    """Shows the events of a job, with a picture of its newest frame."""

    def __init__(self) -> None:
        self._bar, self._newest = ProgressBar(1), None

    def look(self, frame: Frame) -> None:
        """Keep a restored frame to be shown with the next step of the bar."""
        stop_if_cancelled()
        self._newest = frame

    def show(self, event: events.Event) -> None:
        stop_if_cancelled()
        match event:
            case events.Started(num_frames=expected, notices=notices):
                self._bar.update_absolute(0, expected)
                self._say(*notices)
            case events.Scanning(frames=frames) if frames % SCANNED_AT_ONCE == 0:
                self._bar.update_absolute(frames)
            case events.Planned(frames=frames, frames_done=done):
                self._bar.update_absolute(done, frames)
            case events.Progress(frames=done):
                self._bar.update_absolute(done, preview=picture(self._newest) if self._newest else None)
            case events.Notice(text=text):
                self._say(text)

    def _say(self, *lines: str) -> None:
        for line in lines:
            logging.warning("PatchVSR: %s", line)


def picture(frame: Frame) -> tuple[str, Image.Image, int]:
    """Return a frame as ComfyUI takes previews: format, image, and the largest side to send."""
    step = max(1, max(frame.rgb.shape) // (2 * PREVIEW_PX))
    rgb = frame.rgb[::step, ::step]
    return "JPEG", Image.fromarray(rgb if rgb.dtype == "uint8" else (rgb >> 8).astype("uint8")), PREVIEW_PX
