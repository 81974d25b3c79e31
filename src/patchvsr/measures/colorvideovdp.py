"""Measure the visible difference of two videos with ColorVideoVDP, frame by frame, in constant memory.

Source: Mantiuk, Hanji, Ashraf, Asano, Chapiro, "ColorVideoVDP: A visual difference predictor for image, video and
display distortions", SIGGRAPH 2024. The metric is the package cvvdp (MIT), which scores a clip given as one source of
frames of known number. Frames come one at a time here, so its steps are called for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from patchvsr.errors import SettingsError
from patchvsr.measures.cvvdp_import import load_cvvdp
from patchvsr.measures.meter import FrameTriple, Score

JOD = Score(
    "jod",
    "JOD",
    better="higher",
    digits=2,
    help="ColorVideoVDP: 10 is no visible difference to the original, one less is a difference that 75 % of people see",
)


class ColorVideoVdpMeter:
    """Score a clip in just-objectionable differences, holding a quarter of a second of frames, as the filters need.

    The result is that of cvvdp on the whole clip, exactly. A clip of one frame is scored as an image.
    """

    scores: ClassVar[tuple[Score, ...]] = (JOD,)
    needs: ClassVar[frozenset[Literal["original", "canvas"]]] = frozenset({"original"})
    every_frame: ClassVar[bool] = True

    def __init__(self, *, fps: float, display: str = "standard_4k") -> None:
        """Start an empty measurement.

        Args:
            fps: frames per second, as shown.
            display: the screen and where one sits, a name of cvvdp's display_models.json. `standard_4k` is 30 inches,
                200 cd/m², seen from twice its height in an office.

        Raises:
            SettingsError: fps is not positive, or the display is not known.
            PatchVSRError: cvvdp is not installed.
        """
        self._cvvdp = load_cvvdp()
        if not fps > 0:
            raise SettingsError(f"got {fps} frames per second: ColorVideoVDP needs more than 0")
        if display not in (names := display_names()):
            raise SettingsError(f"got display {display!r}: choose one of {', '.join(names)}")
        self._metric: Any = self._cvvdp.cvvdp(display_name=display, device=torch.device("cpu"), quiet=True)
        self._metric.F, _ = self._metric.get_temporal_filters(fps)
        self._metric.filter_len = len(self._metric.F[0])
        self._window = self._cvvdp.cvvdp_frame_buffers()  # the last frames, for the filters over time
        self._quality: list[Tensor] = []  # of every frame: (1, 4 channels, 1, bands)
        self._still: FrameTriple | None = None  # the first frame, while it is the only one

    @torch.no_grad()
    def update(self, frame: FrameTriple) -> None:
        self._still = None if self._quality else frame
        self._quality.append(self._frame_quality(_Pair(frame, self._metric.display_photometry)))

    def per_frame(self) -> Mapping[str, Sequence[float | None]]:
        return {}  # JOD are of a clip as a whole

    @torch.no_grad()
    def result(self) -> Mapping[str, float]:
        """Return `jod`; nothing without frames."""
        if not self._quality:
            return {}
        if self._still is not None:
            output, original = self._still.output, self._still.original
            return {"jod": float(self._metric.predict(output, original, dim_order="CHW")[0])}
        return {"jod": float(self._metric.do_pooling_and_jods(torch.cat(self._quality, dim=2)))}

    def _frame_quality(self, pair: _Pair) -> Tensor:
        """Do what `predict_video_source` does for every frame of a video."""
        metric, size = self._metric, pair.get_video_size()
        if metric.lpyr is None:
            height, width, _ = size
            pyramid = self._cvvdp.weber_contrast_pyr
            metric.lpyr = pyramid(width, height, metric.pix_per_deg, metric.device, contrast=metric.contrast)
        index = len(self._quality)
        filtered = metric.read_block_of_frames(pair, 4, self._window, 1, "DKLd65", index, 1)  # (1, 8, 1, H, W)
        return metric.process_block_of_frames(filtered, size, 2, metric.lpyr, False)[0]


class _Pair(NamedTuple):
    """Two frames as a source of frames of cvvdp, which asks for the newest ones only."""

    frame: FrameTriple
    photometry: Any

    def get_video_size(self) -> tuple[int, int, int]:
        """Return height, width and a number of frames, which only tells videos from images."""
        _, height, width = self.frame.output.shape
        return height, width, 2

    def get_batch_size(self) -> int:
        return 1

    def get_test_frame(self, frame: int, device: torch.device, colorspace: str) -> Tensor:
        return self._on_screen(self.frame.output, colorspace)

    def get_reference_frame(self, frame: int, device: torch.device, colorspace: str) -> Tensor:
        assert self.frame.original is not None
        return self._on_screen(self.frame.original, colorspace)

    def _on_screen(self, rgb: Tensor, colorspace: str) -> Tensor:
        """Return the light of the display, (1, 3, 1, H, W)."""
        return self.photometry.source_2_target_colorspace(rgb[None, :, None], colorspace)


def display_names() -> list[str]:
    """Return the names of the displays that cvvdp knows.

    Raises:
        PatchVSRError: cvvdp is not installed.
    """
    return list(json.loads(Path(load_cvvdp().__file__ or "", "../vvdp_data/display_models.json").resolve().read_text()))
