"""Measure jobs on a cluster: kill workers, nodes and drivers; compare one worker with two; time the driver.

python benchmarks/cluster.py kills --kills 20      # random moments and victims; every output must have the same bytes
python benchmarks/cluster.py speed                 # units a second with two workers of one core, and with one
python benchmarks/cluster.py driver --workers 1000 --units 20000   # simulated workers that only sleep
python benchmarks/cluster.py joins IN.mp4 --steps 2     # what --independent-units costs where units meet

`kills` and `speed` start a real cluster of several nodes on this machine with a toy model. `driver` runs the real
driver: leases, checks, publishing on disk; only the workers are simulated, on a clock of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import clusters
import command
import psutil
import torch
from jobfiles import SMALL, digest, make_shots

from patchvsr.distributed.cluster import connect
from patchvsr.distributed.distribution import Distribution
from patchvsr.distributed.drafts import Draft
from patchvsr.distributed.fleet import Call, Fleet, Member
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.distributed.worker import Begun, Dropped, Loaded
from patchvsr.events import Planned
from patchvsr.jobs.folder import JobFolder, UnitRecord
from patchvsr.jobs.manifest import Manifest
from patchvsr.jobs.scan import Scan
from patchvsr.jobs.work import Work
from patchvsr.measures.seams import join_jump
from patchvsr.media import ReadSettings
from patchvsr.media.segment import SegmentTable
from patchvsr.media.tensors import read_rgb
from patchvsr.pixels.size import Size
from patchvsr.presets import save_preset
from patchvsr.settings import ResolvedSettings, UpscaleSettings
from patchvsr.upscale import upscale

SHOTS = (33, 2, 25, 17, 1, 26, 18, 21)


# --- kills ------------------------------------------------------------------------------------------------------


def kills(count: int, seed: int) -> bool:
    """Kill a worker, a node or the driver at random moments until `count` kills; return whether all bytes agree."""
    chance, victims, jobs, equal = random.Random(seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as name, clusters.cluster() as cluster:
        folder = Path(name)
        source, settings = _job(folder)
        list(upscale(source, folder / "whole.mkv", settings))
        whole = digest(folder / "whole.mkv")
        nodes = [clusters.add_node(cluster, f"node{number}") for number in range(2)]
        words = ["upscale", source, "--preset", folder / "toy.toml", "--json", "--ray", cluster.address]
        save_preset(settings, folder / "toy.toml")
        while victims.total() < count:
            jobs += 1
            target = folder / f"out{jobs}.mkv"
            ended = False
            while not ended:
                driver = command.start(*words, "-o", target)
                assert driver.stdout is not None
                moment = chance.uniform(0, 12)  # events after the first one of the work; a job has about twenty
                for line in driver.stdout:
                    moment -= b'"progress"' in line or b'"workers"' in line
                    if moment >= 0 or victims.total() >= count:
                        continue
                    moment = float("inf")
                    victim = chance.choice(["worker", "node", "driver"])
                    if victim == "driver":
                        driver.kill()
                    elif victim == "node":
                        cluster.remove_node(nodes.pop(0))
                        nodes.append(clusters.add_node(cluster, f"node{victims.total() + 2}"))
                    else:
                        workers = [p for p in psutil.process_iter(["cmdline"]) if "Worker." in str(p.info["cmdline"])]
                        if not workers:
                            continue
                        chance.choice(workers).send_signal(signal.SIGKILL)
                    victims[victim] += 1
                ended = driver.wait() == 0
            equal += digest(target) == whole
    print("| killed | times |\n|---|---|")
    for victim, times in sorted(victims.items()):
        print(f"| {victim} | {times} |")
    print(f"\n{equal} of {jobs} jobs ended with the same bytes")
    return equal == jobs


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


class SimulatedFleet(Fleet):
    """Workers that answer after the time a unit would take, on a clock that jumps to the next answer."""

    def __init__(self, workers: int, unit_s: float, segment: bytes, seed: int = 0) -> None:
        super().__init__(ClusterSettings(), UpscaleSettings().restore, {})
        self._chance, self._unit_s, self.clock_s = random.Random(seed), unit_s, 0.0
        self._segment, self._sha256 = segment, hashlib.sha256(segment).hexdigest()
        self._free_at: dict[str, float] = {}
        self._begins: dict[tuple[str, int], float] = {}
        self._answers: list[tuple[float, int, Call, Any]] = []
        self._number = 0
        for index in range(workers):
            name = f"node{index}/{index}"
            self.members[name] = Member(name, str(index), f"node{index}", None, Loaded({}, "simulated"))

    def refresh(self) -> None:
        pass

    def put(self, value: Any) -> Any:
        return value

    def call(self, member: Member, method: str, *arguments: Any, about: int = -1, at_once: bool = False) -> None:
        answer: Any = None
        answers_at = self.clock_s
        match method:
            case "begin":
                answer = Begun(has_input=True, shares=False)
            case "progress":
                answer = (None, 0, 0.0)
            case "restore":
                seconds = self._unit_s * self._chance.uniform(0.5, 2)
                self._begins[member.name, about] = max(self.clock_s, self._free_at.get(member.name, 0.0))
                answers_at = self._begins[member.name, about] + seconds
                self._free_at[member.name] = answers_at
                table = SegmentTable([0], [len(self._segment)], [True], [0])
                record = UnitRecord(table, {"seconds": seconds})
                answer = Draft(about, record, self._segment, None, self._sha256)
            case "drop" if self._begins[member.name, about] > self.clock_s:
                answer = True
                self._free_at[member.name] = self._begins.pop((member.name, about))
        self._number += 1
        heapq.heappush(self._answers, (answers_at, self._number, Call(member, method, about, self.job), answer))

    def answers(self, seconds: float) -> Iterable[tuple[Call, Any]]:
        """Yield all answers of the next hundredth of a second."""
        if self._answers:
            self.clock_s = max(self.clock_s, self._answers[0][0])
        while self._answers and self._answers[0][0] <= self.clock_s + 0.01:
            _, _, call, answer = heapq.heappop(self._answers)
            dropped = call.method == "restore" and (call.member.name, call.about) not in self._begins
            yield call, Dropped() if dropped else answer


def driver(workers: int, units: int, unit_s: float) -> bool:
    """Print what the driver spends on a unit."""
    frames = 48 * units
    scan = Scan(list(range(frames)), [1] * frames, [0] * frames, list(range(0, frames, 48)))
    manifest = Manifest({"input": {"bytes": 0, "sha256": ""}}, scan, 49, 1, 48)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in.mkv"
        source.touch()
        folder = JobFolder(Path(name) / "out.mkv")
        folder.path.mkdir()
        work = Work(source, ReadSettings(), ResolvedSettings(), Size(64, 64), manifest, _no_encoder)
        fleet = SimulatedFleet(workers, unit_s, segment=bytes(1_000_000))
        job = Distribution(fleet, work, folder, None)
        started_at, cpu_at = time.monotonic(), time.process_time()
        while not job.finished:  # the loop of `Cluster.restore`
            job.forget_workers_that_left()
            job.begin_on_new_workers()
            job.hand_out()
            job.ask_for_progress()
            for call, answer in fleet.answers(1.0):
                job.take(call, answer)
            list(job.news())
        seconds, cpu_s = time.monotonic() - started_at, time.process_time() - cpu_at
    ideal_s = units * 1.25 * unit_s / workers
    print(f"{workers} workers, {units} units of 1 MB that take {unit_s:g} s: {1000 * seconds / units:.2f} ms a unit")
    print(f"({1000 * cpu_s / units:.2f} ms of CPU time; the rest waits for the disk)")
    print(f"simulated: {fleet.clock_s:.0f} s, {fleet.clock_s / ideal_s:.3f} of what perfectly shared work would take")
    return True


def _no_encoder() -> Any:
    raise AssertionError("the driver encodes nothing")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["kills", "speed", "joins", "driver"])
    parser.add_argument("input", nargs="?", type=Path, help="of joins")
    parser.add_argument("--steps", type=int, default=2, help="of joins")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and victims")
    parser.add_argument("--workers", type=int, default=1000, help="simulated workers")
    parser.add_argument("--units", type=int, default=20_000, help="of the simulated workers")
    parser.add_argument("--unit-s", type=float, default=60.0, help="seconds that a simulated unit takes on average")
    args = parser.parse_args()
    match args.what:
        case "kills":
            good = kills(args.kills, args.seed)
        case "speed":
            good = speed()
        case "joins":
            good = joins(args.input, args.steps)
        case _:
            good = driver(args.workers, args.units, args.unit_s)
    return not good


if __name__ == "__main__":
    sys.exit(main())
