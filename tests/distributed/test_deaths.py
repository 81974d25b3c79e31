"""Workers, nodes and drivers die at any moment, files half published included: every unit is published, and once.

The driver, its leases and its publishing on disk are the real ones; only the workers are simulated.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from simulating import SimulatedFleet

from patchvsr import files
from patchvsr.distributed import distribution
from patchvsr.distributed.cluster import Cluster
from patchvsr.jobs.batch import Job
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.in_flight import run_jobs
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


def segment(name: str, number: int) -> bytes:
    return f"unit {number} of {name}".encode()


class SimulatedJob:
    """A job whose units only take time."""

    def __init__(self, folder: Path, name: str, cuts: list[int], warm_up: int | None) -> None:
        self.job, self.folder = (
            Job(folder / f"{name}.mkv", folder / f"{name}_out.mkv"),
            JobFolder(folder / f"{name}_out.mkv"),
        )
        self.job.input.touch()
        self.folder.path.mkdir()
        scan = Scan(list(range(FRAMES)), [1] * FRAMES, [0] * FRAMES, cuts)
        manifest = Manifest({"input": {"bytes": 0, "sha256": name}}, scan, 5, 1, 8, warm_up_frames=warm_up)
        self.work = Work(self.job.input, ReadSettings(), ResolvedSettings(), Size(64, 64), manifest, lambda: None)
        self.units = manifest.units()

    def records(self) -> Iterator[os.DirEntry]:
        with os.scandir(self.folder.path) as entries:
            yield from (entry for entry in entries if entry.name.startswith("unit-") and entry.name.endswith(".json"))


# With one shot each, the units of three jobs are in flight at once, as those of a job follow each other.
@pytest.mark.parametrize("cuts", [[CUTS], [[0]] * 3], ids=["one-job", "batch"])
@pytest.mark.parametrize("warm_up", [None, 10], ids=["ordered", "independent"])
@pytest.mark.parametrize("seed", range(5))
def test_every_unit_is_published_once(tmp_path, monkeypatch, seed, warm_up, cuts):
    jobs = [SimulatedJob(tmp_path, f"in{number}", shots, warm_up) for number, shots in enumerate(cuts)]
    of = {job.job: job for job in jobs}
    published, workers_left, chance = {}, WORKERS, random.Random(seed)
    deaths = Deaths(chance, DRIVERS)
    for module, name in ((files, "move_file"), (files, "write_durably"), (distribution, "add_piece")):
        monkeypatch.setattr(module, name, deaths.before(getattr(module, name)))

    def look() -> None:
        for record in (record for job in jobs for record in job.records()):
            assert published.setdefault(record.path, record.inode()) == record.inode()

    def drive() -> None:
        nonlocal workers_left
        fleet = SimulatedFleet(4, 60.0, segment, seed=chance.randrange(1000))  # also another cluster
        cluster = Cluster(fleet)
        told = run_jobs(
            list(of), lambda job: cluster.restore(of[job].work, of[job].folder, None), lambda: cluster, lambda _: False
        )
        with closing(told):
            for _, event in told:
                assert not isinstance(event, Exception)
                look()
                if workers_left and chance.random() < 0.5:
                    workers_left -= 1
                    fleet.lose(chance.choice(list(fleet.members.values())), "killed")
                    fleet.add()

    while True:
        try:
            drive()
        except Killed:
            continue
        break
    look()
    assert deaths.left == workers_left == 0
    assert len(published) == sum(len(job.units) for job in jobs) > 50
    for job in jobs:
        for unit in job.units:
            expected = segment(job.job.input.name, unit.number)
            assert job.folder.segment_path(unit.number).read_bytes() == expected
            assert job.folder.read_unit(unit.number).table.sizes == [len(expected)]
