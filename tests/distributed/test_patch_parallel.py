"""Workers of several devices on a real node: the same bytes as in one process, whichever of them dies or fails."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusters  # before Ray, which reads what this sets
import psutil
import pytest
from jobfiles import SMALL, digest, make_shots

from patchvsr.distributed.cluster import Cluster, connect
from patchvsr.distributed.settings import ClusterSettings
from patchvsr.errors import ClusterError
from patchvsr.events import Progress, WorkerJoined, WorkerLeft
from patchvsr.settings import UpscaleSettings
from patchvsr.upscale import upscale

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def node_of_two(cluster: Any) -> Iterator[None]:
    node = clusters.add_node(cluster, "two", num_cpus=2)
    yield
    cluster.remove_node(node)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> UpscaleSettings:
    model = clusters.save_model(tmp_path_factory.mktemp("models") / "model")
    return UpscaleSettings.of(**SMALL, model=str(model), dtype="float32")


@pytest.mark.usefixtures("node_of_two")
def test_two_devices_share_patches_and_a_killed_one_is_replaced(
    tmp_path: Path, cluster: Any, settings: UpscaleSettings
) -> None:
    source = make_shots(tmp_path / "in.mkv")
    list(upscale(source, tmp_path / "whole.mkv", settings))
    joined, left, killed = [], [], []
    with connect(ClusterSettings(cluster.address, patch_parallel=2), settings.restore) as engine:
        for event in upscale(source, tmp_path / "out.mkv", settings, get_engine=lambda: engine):
            joined += [event.device] if isinstance(event, WorkerJoined) else []
            left += [event.reason] if isinstance(event, WorkerLeft) else []
            if isinstance(event, Progress) and not killed:
                killed = clusters.processes("ray::Partner")
                assert len(killed) == 1
                killed[0].send_signal(signal.SIGKILL)
    assert left == ["its process ended"] and len(joined) == 2
    assert all(device.startswith("2 x cpu") for device in joined)
    assert digest(tmp_path / "out.mkv") == digest(tmp_path / "whole.mkv")
    psutil.wait_procs(clusters.processes("ray::Partner"), timeout=30)
    assert not clusters.processes("ray::Partner")


def test_a_node_with_too_few_devices_is_named(cluster: Any, settings: UpscaleSettings, monkeypatch: Any) -> None:
    monkeypatch.setattr("patchvsr.distributed.cluster.PATIENCE_S", 0.0)
    with (
        connect(ClusterSettings(cluster.address, patch_parallel=3, cpus_per_worker=1), settings.restore) as engine,
        pytest.raises(ClusterError, match="3 devices of 1 CPUs and 0 GPUs"),
    ):
        assert isinstance(engine, Cluster)
        engine.machine(settings.restore, (64, 64), None)  # type: ignore[arg-type]
