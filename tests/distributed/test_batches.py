"""Several files in flight on a real cluster: the bytes of one process, whatever fails, dies or is stopped meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import clusters  # before Ray, which reads what this sets
import pytest
from forked_command import Forked
from jobfiles import SMALL, digest, make_shots

from patchvsr.distributed.cluster import Cluster, connect
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.errors import JobError
from patchvsr.events import Finished, Planned, Progress, Stopped, WorkerLeft
from patchvsr.jobs.batch import Job
from patchvsr.jobs.folder import JobFolder
from patchvsr.jobs.in_flight import run_jobs
from patchvsr.jobs.work import Stop
from patchvsr.presets import save_preset
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale, upscale_in_turns

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


LENGTHS = {"a": 36, "b": 27, "c": 18}


class Batch:
    """Three clips of one shot each, whose units need each other, so that a clip keeps one worker busy and no more."""

    def __init__(self, folder: Path) -> None:
        model = clusters.save_model(folder / "model")
        self.settings = UpscaleSettings.of(**SMALL, model=str(model), dtype="float32")
        self.clips = folder / "clips"
        self.clips.mkdir()
        self.sources = [make_shots(self.clips / f"{name}.mkv", (length,)) for name, length in LENGTHS.items()]
        self.wholes = []
        for source in self.sources:
            list(upscale(source, folder / "whole" / source.name, self.settings))
            self.wholes.append(digest(folder / "whole" / source.name))

    def run(self, folder: Path, engine: Cluster, stop: Stop = lambda expected_s: False) -> Iterator[tuple[str, Any]]:
        """Yield the names of clips, and what happens to them."""
        jobs = [Job(source, folder / source.name) for source in self.sources]
        told = run_jobs(
            jobs,
            lambda job: upscale_in_turns(job.input, job.output, self.settings, lambda: engine, stop),
            lambda: engine,
            stop,
        )
        with closing(told):
            for job, event in told:
                yield job.input.stem, event

    def equal(self, folder: Path) -> list[bool]:
        return [
            (folder / source.name).exists() and digest(folder / source.name) == whole
            for source, whole in zip(self.sources, self.wholes, strict=True)
        ]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    folder = tmp_path_factory.mktemp("batch")
    (folder / "whole").mkdir()
    return Batch(folder)


@pytest.fixture(scope="module")
def engine(cluster: Any, batch: Batch) -> Iterator[Cluster]:
    """Two workers, which keep their model from test to test."""
    with connect(ClusterSettings(cluster.address), batch.settings.restore) as found:
        yield found


@pytest.fixture
def two_workers(engine: Cluster) -> None:
    while len(engine._fleet.loaded) < 2:
        engine.hand_out()
        engine.take_answers(wait=True)


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("shared", [None, False], ids=["found-out", "no-shared-storage"])
def test_idle_workers_take_units_of_the_next_file(
    tmp_path: Path, batch: Batch, engine: Cluster, shared: bool | None
) -> None:
    engine._fleet.shared_storage = shared
    told = list(batch.run(tmp_path, engine))
    engine._fleet.shared_storage = None
    assert batch.equal(tmp_path) == [True] * 3
    happened = [(name, type(event)) for name, event in told]
    # Which file ends first is not promised: the last unit of one can take longer than all of a shorter file.
    assert happened.index(("b", Planned)) < happened.index(("a", Finished))
    workers = set()
    for name, count in LENGTHS.items():
        folder = JobFolder(tmp_path / f"{name}.mkv")
        workers |= {effort["worker"] for effort in folder.read_efforts()}
        assert sorted(path.name for path in folder.path.iterdir()) == ["manifest.json", "result.json"]
        frames = [event.frames for of, event in told if of == name and isinstance(event, Progress)]
        assert frames == sorted(frames) and frames[-1] == count
    assert len(workers) == 2


@pytest.mark.usefixtures("two_workers")
def test_a_worker_killed_with_two_files_in_flight_is_replaced(tmp_path: Path, batch: Batch, engine: Cluster) -> None:
    killed, left, begun = [], [], set()
    for name, event in batch.run(tmp_path, engine):
        begun.add(name)
        left += [event.reason] if isinstance(event, WorkerLeft) else []
        restoring = clusters.processes("Worker.restore")
        if not killed and len(restoring) == 2 and len(begun) > 1:
            restoring[0].send_signal(signal.SIGKILL)
            killed.append(restoring[0].pid)
    assert killed and left == ["its process ended"]
    assert batch.equal(tmp_path) == [True] * 3


@pytest.mark.usefixtures("two_workers")
def test_a_file_that_fails_stops_no_other(tmp_path: Path, batch: Batch, engine: Cluster) -> None:
    target = tmp_path / "a.mkv"
    list(upscale(batch.sources[0], target, batch.settings, get_engine=lambda: engine, stop=lambda expected_s: True))
    manifest = JobFolder(target).path / "manifest.json"
    stored = json.loads(manifest.read_text())
    stored["scan"]["crcs"][12] += 1  # as if that frame had been another when the job began
    manifest.write_text(json.dumps(stored))
    ((name, error),) = [told for told in batch.run(tmp_path, engine) if isinstance(told[1], Exception)]
    assert name == "a" and isinstance(error, JobError) and "frame 12 is not" in str(error)
    assert batch.equal(tmp_path) == [False, True, True]


@pytest.mark.usefixtures("two_workers")
def test_one_ctrl_c_ends_the_units_at_hand_of_all_files(tmp_path: Path, batch: Batch, engine: Cluster) -> None:
    restored, last = set(), {}
    for name, event in batch.run(tmp_path, engine, lambda expected_s: len(restored) == 2):
        last[name] = event
        if isinstance(event, Progress):
            restored.add(name)
    assert all(isinstance(event, Stopped) for event in last.values())
    assert last["a"].units_done >= 1 and last["b"].units_done >= 1
    assert not list(tmp_path.glob("*.mkv.job/lock"))
    list(batch.run(tmp_path, engine))
    assert batch.equal(tmp_path) == [True] * 3


@pytest.mark.usefixtures("two_workers")
def test_a_second_ctrl_c_leaves_units_of_all_files_to_the_next_run(
    tmp_path: Path, batch: Batch, engine: Cluster
) -> None:
    restored = set()

    def interrupted(expected_s: float) -> bool:
        if len(restored) == 2:
            raise KeyboardInterrupt  # as its handler does, in the middle of whatever the driver is doing
        return False

    with pytest.raises(KeyboardInterrupt):
        for name, event in batch.run(tmp_path, engine, interrupted):
            restored |= {name} if isinstance(event, Progress) else set()
    assert batch.equal(tmp_path)[:2] == [False, False]
    assert not list(tmp_path.glob("*.mkv.job/lock"))
    list(batch.run(tmp_path, engine))
    assert batch.equal(tmp_path) == [True] * 3


def test_a_driver_killed_with_files_in_flight_costs_nothing(
    tmp_path: Path, batch: Batch, cluster: Any, engine: Cluster
) -> None:
    """The last test, as its workers take the place of the engine's. The driver does not belong to the cluster, which
    takes no part in what follows."""
    engine._fleet.end()
    save_preset(batch.settings, tmp_path / "small.toml")
    out, begun = tmp_path / "out", set()
    words = ["upscale", batch.clips, "-o", out, "--preset", tmp_path / "small.toml", "--json"]
    with Forked(*words, "--ray", cluster.client_address, "--workers", 2) as driver:
        for line in driver.stdout:
            event = json.loads(line)
            begun |= {event["input"]} if event["event"] == "progress" else set()
            if len(begun) == 2:
                break
        driver.kill()
        driver.communicate()
    assert (len(begun), driver.returncode) == (2, -signal.SIGKILL)
    assert not any((out / source.name).exists() for source in batch.sources[:2])
    assert all((JobFolder(out / source.name).path / "manifest.json").exists() for source in batch.sources[:2])
    for source in batch.sources:
        list(upscale(source, out / source.name, batch.settings))
    assert batch.equal(out) == [True] * 3
