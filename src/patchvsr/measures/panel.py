"""All meters by name, and a panel of them that is shown a clip once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from patchvsr.errors import PatchVSRError, SettingsError
from patchvsr.measures.colorvideovdp import ColorVideoVdpMeter
from patchvsr.measures.colour import ColourMeter
from patchvsr.measures.features import FeatureMeter
from patchvsr.measures.fidelity import MsSsimMeter, PsnrMeter, SsimMeter, VifMeter
from patchvsr.measures.meter import FrameTriple, Meter, Need, Score
from patchvsr.measures.niqe import NiqeMeter
from patchvsr.measures.pyiqa_metrics import ClipIqaMeter, DistsMeter, LpipsMeter, MusiqMeter
from patchvsr.measures.seams import JoinMeter, Lines, SeamRatioMeter
from patchvsr.measures.sharpness import SharpnessMeter
from patchvsr.measures.temporal import FlickerMeter, WarpingMeter
from patchvsr.measures.vmaf import VmafMeter


@dataclass(frozen=True)
class ClipFacts:
    """What meters need to know of a clip and how it was made.

    display: the display that JOD are computed for, a name of ColorVideoVDP's list.
    lines: rows and columns where patches end, and others where none does; None if unknown.
    joins: first frames of chunks inside shots.
    """

    frame_rate: float
    display: str = "standard_4k"
    lines: tuple[Lines, Lines] | None = None
    joins: Sequence[int] = ()


METERS: dict[str, type[Any]] = {
    "psnr": PsnrMeter,
    "ssim": SsimMeter,
    "ms-ssim": MsSsimMeter,
    "vif": VifMeter,
    "vmaf": VmafMeter,
    "jod": ColorVideoVdpMeter,
    "features": FeatureMeter,
    "sharpness": SharpnessMeter,
    "niqe": NiqeMeter,
    "warping": WarpingMeter,
    "flicker": FlickerMeter,
    "joins": JoinMeter,
    "seams": SeamRatioMeter,
    "colour": ColourMeter,
    "lpips": LpipsMeter,
    "dists": DistsMeter,
    "musiq": MusiqMeter,
    "clipiqa": ClipIqaMeter,
}
ALL_SCORES: tuple[Score, ...] = tuple(score for meter in METERS.values() for score in meter.scores)


def build(name: str, clip: ClipFacts) -> Meter | None:
    """Return the meter of a name, or None if what it looks for cannot be in the clip.

    Raises SettingsError for an unknown name, and PatchVSRError if a package that it needs is not installed.
    """
    if name not in METERS:
        raise SettingsError(f"unknown metric {name!r}: choose from {', '.join(METERS)}")
    match name:
        case "joins":
            return JoinMeter(clip.joins) if clip.joins else None
        case "jod":
            return ColorVideoVdpMeter(fps=clip.frame_rate, display=clip.display)
        case "seams":
            return SeamRatioMeter(*clip.lines) if clip.lines else None
    meter: Meter = METERS[name]()
    return meter


class Panel:
    """The meters of one clip.

    missing: names of meters that cannot run here, and how to get what they need.
    seconds: how long every meter took.
    """

    def __init__(self, names: Iterable[str], clip: ClipFacts, has: frozenset[Need], *, every: int = 1):
        """Build those meters whose needs the clip `has`; those that need not see every frame see each `every`-th.

        Raises SettingsError for an unknown name or display.
        """
        self.meters: dict[str, Meter] = {}
        self.missing: dict[str, str] = {}
        self._every, self._count = every, 0
        for name in names:
            try:
                meter = build(name, clip)
            except SettingsError:
                raise
            except PatchVSRError as error:
                self.missing[name] = str(error)
                continue
            if meter is not None and meter.needs <= has:
                self.meters[name] = meter
        self.seconds = dict.fromkeys(self.meters, 0.0)

    def update(self, frame: FrameTriple) -> None:
        """Show the next frame to the meters."""
        for name, meter in self.meters.items():
            if meter.every_frame or self._count % self._every == 0:
                started_at = time.perf_counter()
                meter.update(frame)
                self.seconds[name] += time.perf_counter() - started_at
        self._count += 1

    def result(self) -> dict[str, float]:
        """Return the scores of the clip by name."""
        found: dict[str, float] = {}
        for name, meter in self.meters.items():
            started_at = time.perf_counter()
            found |= meter.result()
            self.seconds[name] += time.perf_counter() - started_at
        return found

    def per_frame(self) -> dict[str, list[float | None]]:
        """Return the scores of the frames that were measured, by name."""
        return {score: list(values) for meter in self.meters.values() for score, values in meter.per_frame().items()}
