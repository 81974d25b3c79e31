"""Measure jobs on a cluster: kill workers, nodes and drivers; compare one worker with two; time the driver.

python benchmarks/cluster.py kills --kills 20 10 20   # workers, nodes, drivers; every output must have the same bytes
python benchmarks/cluster.py speed                 # units a second with two workers of one core, and with one
python benchmarks/cluster.py driver --workers 1000 --units 20000   # simulated workers that only sleep
python benchmarks/cluster.py joins IN.mp4 --steps 2     # what --independent-units costs where units meet

`kills` and `speed` start a real cluster of several nodes on this machine with a toy model. `driver` runs the real
driver: leases, checks, publishing on disk; only the workers are simulated, on a clock of their own.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import clusters
import command
import psutil
import torch
from jobfiles import SMALL, digest, make_shots
from simulating import SimulatedFleet, go_on

from patchvsr.distributed.cluster import connect
from patchvsr.distributed.distribution import Distribution
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.events import Planned
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.scan import Scan
from patchvsr.jobs.work import Work
from patchvsr.measures.seams import join_jump
from patchvsr.media import ReadSettings
from patchvsr.media.tensors import read_rgb
from patchvsr.pixels.size import Size
from patchvsr.presets import save_preset
from patchvsr.settings import ResolvedSettings, UpscaleSettings
from patchvsr.upscale import upscale

MIB = 2**20
SHOTS = (21, 2, 33, 11)


# --- kills ------------------------------------------------------------------------------------------------------


def kills(workers: int, nodes: int, drivers: int, seed: int) -> bool:
    """Kill workers, nodes and drivers at random moments; return whether all bytes agree and no unit was done twice.

    Jobs hand latents on from unit to unit in turn with jobs whose units begin by themselves. Every fifth driver finds
    another cluster.
    """
    chance = random.Random(seed)
    victims = ["worker"] * workers + ["node"] * nodes + ["driver"] * drivers
    chance.shuffle(victims)
    recovered: dict[str, list[float]] = {victim: [] for victim in ("worker", "node", "driver")}
    with tempfile.TemporaryDirectory() as name, ExitStack() as open_cluster:
        folder, jobs, equal = Path(name), 0, 0
        source, settings = _job(folder)
        wholes = []
        for steps in (0, 1):
            with_steps = settings.replaced(num_inference_steps=steps)
            list(upscale(source, folder / f"whole{steps}.mkv", with_steps))
            wholes.append(digest(folder / f"whole{steps}.mkv"))
            save_preset(with_steps, folder / f"steps{steps}.toml")
        cluster = open_cluster.enter_context(_two_nodes())
        while victims:
            jobs, target = jobs + 1, folder / f"out{jobs}.mkv"
            words = ["upscale", source, "-o", target, "--preset", folder / f"steps{jobs % 2}.toml", "--json"]
            published = Published(JobFolder(target))
            killed: tuple[str, float, int] | None = None  # the victim, when, and the number of units done then
            code = -1
            while code != 0:
                driver = command.start(*words, "--ray", cluster.address)
                moment = chance.uniform(0, 12)  # events of the work; a job has about twenty
                assert driver.stdout is not None
                for line in driver.stdout:
                    published.look()
                    if killed is not None and (published.count > killed[2] or b'"finished"' in line):
                        recovered[killed[0]].append(time.monotonic() - killed[1])
                        print(f"job {jobs}: goes on after {recovered[killed[0]][-1]:.1f} s", flush=True)
                        killed = None
                    moment -= b'"progress"' in line or b'"workers"' in line
                    if moment < 0 and killed is None and victims and _kill(victims[-1], driver, cluster):
                        killed = victims.pop(), time.monotonic(), published.count
                        print(f"job {jobs}: {killed[0]} killed, {len(victims)} left", flush=True)
                        moment = chance.uniform(0, 12)
                code = driver.wait()
                if code != 0 and victims.count("driver") % 5 == 0:
                    open_cluster.close()
                    cluster = open_cluster.enter_context(_two_nodes())
            equal += digest(target) == wholes[jobs % 2]
            assert not published.twice, published.twice
            print(f"job {jobs}: done, the same bytes in {equal} of {jobs}", flush=True)
    print("| killed | times | seconds until the next unit was done, median | most |\n|---|---|---|---|")
    for victim, seconds in recovered.items():
        print(f"| {victim} | {len(seconds)} | {median(seconds or [0]):.1f} | {max(seconds, default=0):.1f} |")
    print(f"\n{equal} of {jobs} jobs ended with the same bytes; no unit was published twice")
    return equal == jobs


class Published:
    """The units of a job as they are published. A file that is written again is another file."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder, self._seen = folder, dict[str, int]()
        self.twice: list[str] = []

    @property
    def count(self) -> int:
        return len(self._seen)

    def look(self) -> None:
        for file in self._folder.path.glob("unit-*.json"):
            with suppress(FileNotFoundError):  # the job is done
                if self._seen.setdefault(file.name, file.stat().st_ino) != file.stat().st_ino:
                    self.twice.append(file.name)


@contextmanager
def _two_nodes() -> Iterator[Any]:
    with clusters.cluster() as cluster:
        cluster.last = [clusters.add_node(cluster, f"node{number}") for number in range(2)]
        yield cluster


def _kill(victim: str, driver: Any, cluster: Any) -> bool:
    """Kill one. Returns whether there was one."""
    if victim == "driver":
        driver.kill()
    elif victim == "node":
        cluster.remove_node(cluster.last.pop(0))
        cluster.last.append(clusters.add_node(cluster, f"node{uuid.uuid4().hex[:4]}"))
    else:
        own = psutil.Process().children(recursive=True)
        workers = [process for process in own if "Worker.restore" in _words(process)]
        if not workers:
            return False
        random.choice(workers).send_signal(signal.SIGKILL)
    return True


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


# --- speed ------------------------------------------------------------------------------------------------------


def speed() -> bool:
    """Print units a second with one worker and with two, model loaded."""
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        folder = Path(name)
        source, settings = _job(folder)
        for number in range(2):
            clusters.add_node(cluster, f"node{number}")
        for workers in (1, 2):
            with connect(ClusterSettings(cluster.address, workers=workers), settings.restore) as engine:
                while len(engine._fleet.loaded) < workers:
                    engine._fleet.refresh()
                    list(engine._fleet.answers(1.0))
                list(upscale(source, folder / f"warm{workers}.mkv", settings, get_engine=lambda e=engine: e))
                started_at = time.monotonic()
                events = list(upscale(source, folder / f"out{workers}.mkv", settings, get_engine=lambda e=engine: e))
                seconds = time.monotonic() - started_at
            (units,) = [event.units for event in events if isinstance(event, Planned)]
            print(f"{workers} workers: {units / seconds:.2f} units a second ({units} units in {seconds:.1f} s)")
        return digest(folder / "out1.mkv") == digest(folder / "out2.mkv")


def _job(folder: Path) -> tuple[Path, UpscaleSettings]:
    model = clusters.save_model(folder / "model")
    return make_shots(folder / "in.mkv", SHOTS), UpscaleSettings.of(**SMALL, model=str(model), dtype="float32")


# --- joins ------------------------------------------------------------------------------------------------------


def joins(source: Path, steps: int) -> bool:
    """Print how visible the joins of units are, in order and independent, with the bundled model and short units."""
    options = dict(scale=4.0, num_inference_steps=steps, unit_frames=16, codec="ffv1")
    videos = {}
    with tempfile.TemporaryDirectory() as name:
        for way, independent in {"in order": False, "independent": True}.items():
            target = Path(name) / f"{independent}.mkv"
            list(upscale(source, target, UpscaleSettings.of(**options, independent_units=independent)))
            manifest = JobFolder(target).read_manifest()
            assert manifest is not None
            starts = [unit.frames.start for unit in manifest.units() if unit.continues]
            videos[way] = torch.stack(list(read_rgb(target)))
    difference = 255 * (videos["in order"] - videos["independent"]).abs().mean(dim=(1, 2, 3))
    print(f"{len(starts)} joins, {steps} steps\n")
    print("| units | change at a join over the changes around it | the worst |\n|---|---|---|")
    for way, video in videos.items():
        jumps = join_jump(video, starts)
        print(f"| {way} | {fmean(jumps):.3f} | {max(jumps):.3f} |")
    print(
        f"\ndifference of the two: {difference.mean():.3f} levels of 255 on average, {difference.max():.3f} in a frame"
    )
    return True


# --- driver -----------------------------------------------------------------------------------------------------


def driver(workers: int, units: int, unit_s: float, shots: int, segment_bytes: int) -> bool:
    """Print what the driver spends on a unit, in time and memory."""
    process = psutil.Process()
    before_mib = process.memory_info().rss / MIB
    frames = 48 * units
    cuts = [frames * shot // shots for shot in range(shots)]
    scan = Scan(list(range(frames)), [1] * frames, [0] * frames, cuts)
    manifest = Manifest({"input": {"bytes": 0, "sha256": ""}}, scan, 17, 1, 48, warm_up_frames=10)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in.mkv"
        source.touch()
        folder = JobFolder(Path(name) / "out.mkv")
        folder.path.mkdir()
        work = Work(source, ReadSettings(), ResolvedSettings(), Size(64, 64), manifest, _no_encoder)
        fleet = SimulatedFleet(workers, manifest.units(), unit_s, lambda number: bytes(segment_bytes))
        started_at, cpu_at = time.monotonic(), time.process_time()
        job = Distribution(fleet, work, folder, None)
        planning_s = time.process_time() - cpu_at
        while not job.finished:
            go_on(job, fleet)
        seconds, cpu_s = time.monotonic() - started_at, time.process_time() - cpu_at
    done = len(manifest.units())
    ideal_s = done * 1.25 * unit_s / workers
    print(f"{workers} workers, {done} units in {shots} shots, segments of {segment_bytes} bytes")
    print(f"driver: {1000 * seconds / done:.2f} ms a unit, of them {1000 * cpu_s / done:.2f} ms of CPU time")
    print(f"        {planning_s:.1f} s before the first unit; {process.memory_info().rss / MIB - before_mib:.0f} MiB")
    print(f"simulated: {fleet.clock_s:.0f} s, {fleet.clock_s / ideal_s:.3f} of what perfectly shared work would take;")
    print(f"        {fleet.begun_inside} units begun inside a shot, which restores frames once more")
    return True


def _no_encoder() -> Any:
    raise AssertionError("the driver encodes nothing")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["kills", "speed", "joins", "driver"])
    parser.add_argument("input", nargs="?", type=Path, help="of joins")
    parser.add_argument("--steps", type=int, default=2, help="of joins")
    parser.add_argument("--kills", type=int, nargs=3, default=(20, 10, 20), help="workers, nodes, drivers")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and victims")
    parser.add_argument("--workers", type=int, default=1000, help="simulated workers")
    parser.add_argument("--units", type=int, default=20_000, help="of the simulated workers")
    parser.add_argument("--shots", type=int, default=1000, help="of the simulated job")
    parser.add_argument("--segment-bytes", type=int, default=1_000_000, help="of a simulated unit")
    parser.add_argument("--unit-s", type=float, default=60.0, help="seconds that a simulated unit takes on average")
    args = parser.parse_args()
    match args.what:
        case "kills":
            good = kills(*args.kills, args.seed)
        case "speed":
            good = speed()
        case "joins":
            good = joins(args.input, args.steps)
        case _:
            good = driver(args.workers, args.units, args.unit_s, args.shots, args.segment_bytes)
    return not good


if __name__ == "__main__":
    sys.exit(main())
