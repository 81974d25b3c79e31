"""Jobs on a real cluster of several nodes: the same bytes as in one process, whatever dies meanwhile."""

from __future__ import annotations

import json
import shutil
import time

import clusters  # before Ray, which reads what this sets
import pytest
from jobfiles import SHOTS, SMALL, digest, make_shots

from patchvsr.distributed.cluster import connect
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.errors import JobError
from patchvsr.events import Finished, Progress, WorkerJoined, WorkerLeft, Workers
from patchvsr.jobs.folder import JobFolder
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return clusters.save_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def settings(model):
    return UpscaleSettings.of(**SMALL, model=str(model), dtype="float32")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("source") / "in.mkv")


@pytest.fixture(scope="module")
def whole(source, settings):
    target = source.with_name("whole.mkv")
    list(upscale(source, target, settings))
    return digest(target)


@pytest.fixture(scope="module")
def engine(cluster, settings):
    """Workers on all nodes, which keep their model from test to test."""
    with connect(ClusterSettings(cluster.address), settings.restore) as found:
        yield found


def wait_for_workers(engine, nodes):
    """Until the workers of exactly these nodes have loaded the model."""
    begun = time.monotonic()
    while (there := sorted(member.node for member in engine._fleet.loaded)) != sorted(nodes):
        assert time.monotonic() - begun < 120, f"workers on {there} instead of {nodes}"
        engine._fleet.refresh()
        list(engine._fleet.answers(1.0))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shared", [None, False], ids=["found-out", "no-shared-storage"])
def test_two_workers_give_the_bytes_of_one_process(tmp_path, engine, source, settings, whole, shared):
    wait_for_workers(engine, "ab")
    engine._fleet.shared_storage = shared
    target = tmp_path / "out.mkv"
    found = list(upscale(source, target, settings, get_engine=lambda: engine))
    engine._fleet.shared_storage = None
    assert isinstance(found[-1], Finished)
    assert digest(target) == whole
    assert names(JobFolder(target).path) == ["manifest.json", "result.json"]
    efforts = JobFolder(target).read_efforts()
    assert {effort["worker"].split("/")[0] for effort in efforts} == {"a", "b"}
    states = [state for event in found if isinstance(event, Workers) for state in event.workers]
    assert {state.node for state in states} == {"a", "b"}
    frames = [event.frames for event in found if isinstance(event, Progress)]
    assert frames == sorted(frames) and frames[-1] == sum(SHOTS)


@pytest.mark.parametrize(
    "options", [dict(num_inference_steps=0), dict(independent_units=True)], ids=["no-steps", "independent-units"]
)
def test_two_workers_share_one_long_shot(tmp_path, engine, settings, options):
    wait_for_workers(engine, "ab")
    source, settings = make_shots(tmp_path / "in.mkv", (41,)), settings.replaced(**options)
    list(upscale(source, tmp_path / "whole.mkv", settings))
    list(upscale(source, tmp_path / "out.mkv", settings, get_engine=lambda: engine))
    assert digest(tmp_path / "out.mkv") == digest(tmp_path / "whole.mkv")
    efforts = JobFolder(tmp_path / "out.mkv").read_efforts()
    assert {effort["worker"].split("/")[0] for effort in efforts} == {"a", "b"}


def test_a_unit_that_always_fails_stops_the_job_and_the_others_are_kept(tmp_path, engine, source, settings):
    target = tmp_path / "out.mkv"
    list(upscale(source, target, settings, get_engine=lambda: engine, stop=lambda expected_s: True))
    manifest = JobFolder(target).path / "manifest.json"
    stored = json.loads(manifest.read_text())
    stored["scan"]["crcs"][24] += 1  # as if that frame had been another when the job began
    manifest.write_text(json.dumps(stored))
    with pytest.raises(JobError, match=r"unit 2 \(frames 21 to 31\) failed .*: frame 24 is not") as caught:
        list(upscale(source, target, settings, get_engine=lambda: engine))
    assert "\n" not in str(caught.value) and not target.exists()
    assert JobFolder(target).is_done(0)


def test_a_node_that_leaves_and_one_with_other_weights(tmp_path, cluster, engine, model, source, settings, whole):
    """Both are nodes of this test: those of the other tests stay, which may come in any order."""
    leaving = clusters.add_node(cluster, "c")
    wait_for_workers(engine, "abc")
    other = clusters.save_model(model.with_name("other"), seed=1)
    model.rename(model.with_name("kept"))
    shutil.copytree(other, model)
    refusing = clusters.add_node(cluster, "d")  # which loads the other model while the others work
    try:
        targets, found = [tmp_path / "out.mkv", tmp_path / "again.mkv"], []
        for event in upscale(source, targets[0], settings, get_engine=lambda: engine):
            found.append(event)
            if isinstance(event, Progress) and leaving is not None:
                cluster.remove_node(leaving)
                leaving = None
        if not engine._fleet.refusals:  # on a slow machine it has come, and been refused, during the first job
            wait_for_workers(engine, "abd")
        found += list(upscale(source, targets[1], settings, get_engine=lambda: engine))
    finally:
        cluster.remove_node(refusing)
        shutil.rmtree(model)
        model.with_name("kept").rename(model)
    assert leaving is None and [digest(target) for target in targets] == [whole] * 2
    assert {"c", "d"} <= {event.node for event in found if isinstance(event, WorkerJoined)}
    left = {event.node: event.reason for event in found if isinstance(event, WorkerLeft)}
    assert sorted(left) == ["c", "d"]
    assert left["d"].startswith("refused, as it would give other bytes: model.sha256 was")
