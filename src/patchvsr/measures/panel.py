"""All meters by name, and a panel of them that is shown a clip once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from patchvsr.errors import PatchVSRError, SettingsError
from patchvsr.measures.colour import ColourMeter
from patchvsr.measures.fidelity import MsSsimMeter, PsnrMeter, SsimMeter, VifMeter
from patchvsr.measures.meter import FrameTriple, Meter, Need
from patchvsr.measures.seams import JoinMeter, Lines, SeamRatioMeter
from patchvsr.measures.temporal import FlickerMeter, WarpingMeter
from patchvsr.measures.vmaf import VmafMeter


@dataclass(frozen=True)
class ClipFacts:
    """What meters need to know of a clip and how it was made.

    display: the display that JOD are computed for, a name of ColorVideoVDP's list.
    patch_lines, control_lines: rows and columns where patches end, and others where none does; None if unknown.
    joins: first frames of chunks inside shots.
    """

    frame_rate: float
    display: str = "standard_4k"
    patch_lines: Lines | None = None
    control_lines: Lines | None = None
    joins: Sequence[int] = ()


METERS: dict[str, Callable[[ClipFacts], Meter | None]] = {
    "psnr": lambda clip: PsnrMeter(),
    "ssim": lambda clip: SsimMeter(),
    "ms-ssim": lambda clip: MsSsimMeter(),
    "vif": lambda clip: VifMeter(),
    "vmaf": lambda clip: VmafMeter(),
    "warping": lambda clip: WarpingMeter(),
    "flicker": lambda clip: FlickerMeter(),
    "joins": lambda clip: JoinMeter(clip.joins) if clip.joins else None,
    "seams": lambda clip: (
        SeamRatioMeter(clip.patch_lines, clip.control_lines) if clip.patch_lines and clip.control_lines else None
    ),
    "colour": lambda clip: ColourMeter(),
}


class Panel:
    """The meters of one clip.

    missing: names of meters that cannot run here, and how to get what they need.
    seconds: how long every meter took.
    """

    def __init__(self, names: Iterable[str], clip: ClipFacts, has: frozenset[Need], *, every: int = 1):
        """Build those meters whose needs the clip `has`; those that need not see every frame see each `every`-th.

        Raises SettingsError for an unknown name.
        """
        self.meters: dict[str, Meter] = {}
        self.missing: dict[str, str] = {}
        self._every, self._count = every, 0
        for name in names:
            if name not in METERS:
                raise SettingsError(f"unknown metric {name!r}: choose from {', '.join(METERS)}")
            try:
                meter = METERS[name](clip)
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
