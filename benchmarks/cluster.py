"""Measure jobs on a cluster: kill workers, nodes and drivers; compare one worker with two; time the driver.

python benchmarks/cluster.py kills --kills 20 10 20   # workers, nodes, drivers; every output must have the same bytes
python benchmarks/cluster.py counts                # 1, 2, 4 workers, shared storage or not, one slowed: the same bytes
python benchmarks/cluster.py speed IN.mp4 --steps 0      # units a second with two workers of one core, and with one
python benchmarks/cluster.py patches IN.mp4 --steps 4   # one worker of two cores that share patches, and of one
python benchmarks/cluster.py batch --steps 4            # six clips of one shot: one after the other, and in flight
python benchmarks/cluster.py driver --workers 1000 --units 20000   # simulated workers that only sleep
python benchmarks/cluster.py store                 # how full the object stores are without shared storage
python benchmarks/cluster.py joins IN.mp4 --steps 2     # what --independent-units costs where units meet

All but `driver` start a real cluster on this machine, `kills` and `counts` with a toy model. `driver` runs the
real driver: leases, checks, publishing on disk; only the workers are simulated, on a clock of their own.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import clusters
import command
import psutil
import torch
from jobfiles import SMALL, digest, make_shots
from simulating import SimulatedFleet

from patchvsr.distributed.cluster import Cluster, connect
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.events import Event, Planned, Progress
from patchvsr.jobs.batch import Job
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.in_flight import run_jobs
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.scan import Scan
from patchvsr.jobs.work import Work
from patchvsr.measures.seams import join_jump
from patchvsr.media import ReadSettings
from patchvsr.media.tensors import read_rgb
from patchvsr.pixels.size import Size
from patchvsr.presets import save_preset
from patchvsr.settings import ResolvedSettings, UpscaleSettings
from patchvsr.upscale import upscale, upscale_in_turns

MIB = 2**20
SHOTS = (21, 2, 33, 11)


# --- kills ------------------------------------------------------------------------------------------------------


def kills(workers: int, nodes: int, drivers: int, seed: int) -> bool:
    """Kill workers, nodes and drivers at random moments; return whether all bytes agree and no unit was done twice.

    Jobs hand latents on from unit to unit in turn with jobs whose units begin by themselves, and two jobs with shared
    storage come in turn with two without. Every fifth driver finds another cluster.
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
            words += ["--no-shared-storage"] if jobs // 2 % 2 else []
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
        workers = clusters.processes("Worker.restore")
        if not workers:
            return False
        random.choice(workers).send_signal(signal.SIGKILL)
    return True


# --- counts -----------------------------------------------------------------------------------------------------


def counts() -> bool:
    """Run a job with 1, 2 and 4 workers, with shared storage and without, all equally fast and one slowed down."""
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        folder, equal = Path(name), True
        source, settings = _job(folder)
        list(upscale(source, folder / "whole.mkv", settings))
        for number in range(4):
            clusters.add_node(cluster, f"node{number}")
        print("| workers | storage | slowed | seconds | units of each | same bytes |\n" + "|---" * 6 + "|")
        for workers in (1, 2, 4):
            with connect(ClusterSettings(cluster.address, workers=workers), settings.restore) as engine:
                _wait_for(engine, workers)
                for shared, slowed in ((True, False), (False, False), (True, True)):
                    engine._fleet.shared_storage, target = shared, folder / f"out{workers}{shared}{slowed}.mkv"
                    started_at = time.monotonic()
                    with _slowed(_devices()[-1]) if slowed else nullcontext():
                        list(upscale(source, target, settings, get_engine=lambda e=engine: e))
                    seconds, same = time.monotonic() - started_at, digest(target) == digest(folder / "whole.mkv")
                    by = Counter(effort["worker"] for effort in JobFolder(target).read_efforts())
                    equal &= same
                    shown = f"{'shared' if shared else 'not shared'} | {'one' if slowed else 'none'}"
                    print(f"| {workers} | {shown} | {seconds:.1f} | {sorted(by.values())} | {same} |", flush=True)
        return equal


@contextmanager
def _slowed(process: psutil.Process) -> Iterator[None]:
    """Let a process run a fifth of the time."""
    ended = threading.Event()

    def slow() -> None:
        while not ended.is_set():
            process.suspend()
            ended.wait(0.4)
            process.resume()
            ended.wait(0.1)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# --- speed ------------------------------------------------------------------------------------------------------


def speed(source: Path, steps: int) -> bool:
    """Print units a second with one worker and with two, of one core each, with the bundled model and short units."""
    settings = UpscaleSettings.of(scale=2.0, num_inference_steps=steps, unit_frames=16, codec="ffv1")
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        folder = Path(name)
        for number in range(2):
            clusters.add_node(cluster, f"node{number}")
        for workers in (1, 2):
            target = folder / f"out{workers}.mkv"
            seconds, units = _timed(ClusterSettings(cluster.address, workers=workers), source, target, settings)
            print(f"{workers} workers: {units / seconds:.3f} units a second ({units} units in {seconds:.1f} s)")
        return digest(folder / "out1.mkv") == digest(folder / "out2.mkv")


def patches(source: Path, steps: int) -> bool:
    """Print how long one worker takes with one device, and with two that share patches, with the bundled model."""
    settings = UpscaleSettings.of(scale=4.0, num_inference_steps=steps, codec="ffv1", dtype="float32")
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        clusters.add_node(cluster, "node", num_cpus=2)
        for devices in (1, 2):
            target = Path(name) / f"out{devices}.mkv"
            options = ClusterSettings(cluster.address, workers=1, cpus_per_worker=1, patch_parallel=devices)
            seconds, _ = _timed(options, source, target, settings)
            print(f"{devices} devices: {seconds:.1f} s")
        return digest(Path(name) / "out1.mkv") == digest(Path(name) / "out2.mkv")


def batch(steps: int, clips: int = 6, frames: int = 49) -> bool:
    """Print how long two workers take for clips whose units need each other, in sequence and several in flight."""
    settings = UpscaleSettings.of(scale=4.0, num_inference_steps=steps, unit_frames=16, dtype="float32")
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        folder = Path(name)
        sources = [make_shots(folder / f"{number}.mkv", (frames,)) for number in range(clips)]
        for number in range(2):
            clusters.add_node(cluster, f"node{number}")
        with connect(ClusterSettings(cluster.address), settings.restore) as engine:
            _wait_for(engine, 2)

            def begin(job: Job) -> Generator[Event | None]:
                return upscale_in_turns(job.input, job.output, settings, lambda: engine, None)

            warm = [Job(source, folder / f"warm{source.stem}.mkv") for source in sources[:2]]
            for _ in run_jobs(warm, begin, lambda: engine, lambda expected_s: False):
                pass
            for way, groups in {"in sequence": [[source] for source in sources], "in flight": [sources]}.items():
                (folder / way).mkdir()
                started_at = time.monotonic()
                for group in groups:
                    jobs = [Job(source, folder / way / source.name) for source in group]
                    for _, event in run_jobs(jobs, begin, lambda: engine, lambda expected_s: False):
                        assert not isinstance(event, Exception), event
                print(f"{way}: {time.monotonic() - started_at:.1f} s", flush=True)
        return all(digest(folder / "in sequence" / s.name) == digest(folder / "in flight" / s.name) for s in sources)


def _timed(cluster: ClusterSettings, source: Path, target: Path, settings: UpscaleSettings) -> tuple[float, int]:
    """Return the seconds of a job whose workers are warm, and its number of units."""
    with connect(cluster, settings.restore) as engine:
        _wait_for(engine, cluster.workers or 1)
        for core, process in enumerate(_devices()):  # one alone would also use another core, to encode for instance
            for thread in process.threads():
                os.sched_setaffinity(thread.id, [core])
        warm: list[Progress] = []
        events = upscale(
            source, target.with_stem(f"{target.stem}_warm"), settings, get_engine=lambda: engine,
            stop=lambda expected_s: bool(warm),
        )  # fmt: skip
        for event in events:
            warm += [event] if isinstance(event, Progress) else []
        started_at = time.monotonic()
        told = list(upscale(source, target, settings, get_engine=lambda: engine))
        seconds = time.monotonic() - started_at
    (units,) = [event.units for event in told if isinstance(event, Planned)]
    return seconds, units


def _wait_for(engine: Cluster, workers: int) -> None:
    """Return once so many workers have loaded the model."""
    while len(engine._fleet.loaded) < workers:
        engine._fleet.refresh()
        list(engine._fleet.answers(1.0))


def _devices() -> list[psutil.Process]:
    """Return the processes of workers and their partners."""
    return clusters.processes("ray::Worker") + clusters.processes("ray::Partner")


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


# --- store ------------------------------------------------------------------------------------------------------


def store() -> bool:
    """Print the most that object stores held in a job of 720p whose units need each other and change the worker."""
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        folder = Path(name)
        source, target = make_shots(folder / "in.mkv", (51,), size=(320, 180)), folder / "out.mkv"
        settings = UpscaleSettings.of(scale=4.0, num_inference_steps=2, unit_frames=17)
        for number in range(2):
            clusters.add_node(cluster, f"node{number}")
        with connect(ClusterSettings(cluster.address, shared_storage=False), settings.restore) as engine:
            _wait_for(engine, 2)
            handed_over: list[int] = []
            stored: list[int] = []
            ended = threading.Event()
            watching = threading.Thread(target=_watch_stores, args=(cluster.address, ended, stored))
            watching.start()
            for event in upscale(source, target, settings, get_engine=lambda: engine):
                files = list(JobFolder(target).path.glob("unit-*.safetensors"))
                if isinstance(event, Progress) and files and not handed_over:  # the next unit goes on elsewhere
                    handed_over = [file.stat().st_size for file in files]
                    busy = next(member for member in engine._fleet.members.values() if member.units)
                    engine._fleet.lose(busy, "ended by the benchmark")
            ended.set()
            watching.join()
    most = max(stored) / MIB
    print(
        f"a unit hands over {handed_over[0] / MIB:.0f} MiB; the object stores of all nodes held {most:.0f} MiB at most"
    )
    return most < 100


def _watch_stores(address: str, ended: threading.Event, stored: list[int]) -> None:
    """Note ten times a second what the object stores of all nodes hold, on disk too."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(address)
    while not ended.wait(0.1):
        stats = get_memory_info_reply(state).store_stats
        stored.append(stats.object_store_bytes_used + stats.spilled_bytes_total)


# --- driver -----------------------------------------------------------------------------------------------------


def driver(workers: int, units: int, unit_s: float, shots: int, segment_bytes: int) -> bool:
    """Print what the driver spends on a unit, in time and memory."""
    process = psutil.Process()
    before_mib = process.memory_info().rss / MIB
    frames = 48 * units
    cuts = [frames * shot // shots for shot in range(shots)]
    scan = Scan(list(range(frames)), [1] * frames, [0] * frames, cuts)
    manifest = Manifest({"input": {"bytes": 0, "sha256": ""}}, scan, 17, 1, 48, warm_up_frames=8)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in.mkv"
        source.touch()
        folder = JobFolder(Path(name) / "out.mkv")
        folder.path.mkdir()
        work = Work(source, ReadSettings(), ResolvedSettings(), Size(64, 64), manifest, _no_encoder)
        fleet = SimulatedFleet(workers, unit_s, lambda name, number: bytes(segment_bytes))
        started_at, cpu_at = time.monotonic(), time.process_time()
        cluster = Cluster(fleet)
        events = cluster.restore(work, folder, None)
        next(events)
        planning_s = time.process_time() - cpu_at
        cluster.hand_out()
        for event in events:
            if event is None:
                cluster.take_answers(wait=True)
                cluster.hand_out()
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
    parser.add_argument("what", choices=["kills", "counts", "speed", "patches", "batch", "store", "joins", "driver"])
    parser.add_argument("input", nargs="?", type=Path, help="of speed, patches and joins")
    parser.add_argument("--steps", type=int, default=2, help="of speed, patches, batch and joins")
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
        case "counts":
            good = counts()
        case "speed":
            good = speed(args.input, args.steps)
        case "patches":
            good = patches(args.input, args.steps)
        case "batch":
            good = batch(args.steps)
        case "store":
            good = store()
        case "joins":
            good = joins(args.input, args.steps)
        case _:
            good = driver(args.workers, args.units, args.unit_s, args.shots, args.segment_bytes)
    return not good


if __name__ == "__main__":
    sys.exit(main())
