"""Workers, nodes and drivers die at any moment, files half published included: every unit is published, and once.

The driver, its leases and its publishing on disk are the real ones; only the workers are simulated.
"""

from __future__ import annotations

import random

import pytest
from simulating import SimulatedFleet, rounds

from patchvsr import files
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.scan import Scan
from patchvsr.jobs.work import Work
from patchvsr.media import ReadSettings
from patchvsr.pixels.size import Size
from patchvsr.settings import ResolvedSettings

CUTS = [0, 200, 210, 450, 460]
FRAMES = 600
DRIVERS, WORKERS = 20, 30  # to kill


class Killed(BaseException):
    """The driver's process ends here."""


class Deaths:
    """Kill the driver at the next file operation, at random."""

    def __init__(self, chance: random.Random, left: int) -> None:
        self._chance, self.left = chance, left

    def before(self, operation):
        def killed_before(*arguments, **options):
            if self.left and self._chance.random() < 0.2:
                self.left -= 1
                raise Killed
            return operation(*arguments, **options)

        return killed_before


def segment(number: int) -> bytes:
    return f"unit {number}".encode()


@pytest.mark.parametrize("warm_up", [None, 10], ids=["ordered", "independent"])
@pytest.mark.parametrize("seed", range(5))
def test_every_unit_is_published_once(tmp_path, monkeypatch, seed, warm_up):
    source, folder, chance = tmp_path / "in.mkv", JobFolder(tmp_path / "out.mkv"), random.Random(seed)
    source.touch()
    folder.path.mkdir()
    scan = Scan(list(range(FRAMES)), [1] * FRAMES, [0] * FRAMES, CUTS)
    manifest = Manifest({"input": {"bytes": 0, "sha256": ""}}, scan, 5, 1, 8, warm_up_frames=warm_up)
    work = Work(source, ReadSettings(), ResolvedSettings(), Size(64, 64), manifest, lambda: None)
    units, published, workers_left = manifest.units(), {}, WORKERS
    deaths = Deaths(chance, DRIVERS)
    for name in ("move_file", "write_durably"):
        monkeypatch.setattr(files, name, deaths.before(getattr(files, name)))

    while not all(folder.is_done(unit.number) for unit in units):
        fleet = SimulatedFleet(4, units, 60.0, segment, seed=chance.randrange(1000))  # also another cluster
        try:
            for _ in rounds(fleet, work, folder):
                for record in folder.path.glob("unit-*.json"):
                    assert published.setdefault(record.name, record.stat().st_ino) == record.stat().st_ino
                if workers_left and chance.random() < 0.5:
                    workers_left -= 1
                    fleet.lose(chance.choice(list(fleet.members.values())), "killed")
                    fleet.add()
        except Killed:
            continue
    assert deaths.left == workers_left == 0
    assert len(published) == len(units) > 50
    for unit in units:
        assert folder.segment_path(unit.number).read_bytes() == segment(unit.number)
        assert folder.read_unit(unit.number).table.sizes == [len(segment(unit.number))]
