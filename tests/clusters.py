"""A real Ray cluster of several nodes on this machine, and toy models that workers can load."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import toy

# Ray's workers are nicer than other processes, which on a busy machine means that tests wait for them.
# The second keeps Ray on 127.0.0.1, which it would otherwise replace by the address that the network knows. The third
# is how long a client waits for its server, which imports Ray first: on a busy machine the usual 30 s are too few. If
# that server has died, it waits five times as long.
os.environ |= {
    "RAY_worker_niceness": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "60",
}

OBJECT_STORE_BYTES = 80 * 2**20


def save_model(folder: Path, **settings: Any) -> Path:
    """Writes a toy model that differs by its settings, for example `seed`. Its units hand latents on in one step."""
    pipeline = toy.pipeline(num_inference_steps=1, strength=0.5, **settings)
    pipeline.save_pretrained(folder)
    return folder


@contextmanager
def cluster() -> Iterator[Any]:
    """A head without work. Nodes are added with `add_node(cluster, name)`. `client_address`: for drivers outside."""
    from ray.cluster_utils import Cluster

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    head = _node("head", 0) | {"include_dashboard": False, "ray_client_server_port": port}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.client_address = f"ray://127.0.0.1:{port}"
    try:
        yield found
    finally:
        found.shutdown()


def add_node(to: Any, name: str, **options: Any) -> Any:
    """A node with one CPU, unless `options` say otherwise."""
    return to.add_node(**_node(name, 1) | options)


def processes(title: str) -> list[psutil.Process]:
    """The processes of Ray that bear this title, in the clusters of this test run: other runs have theirs beside it."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def _node(name: str, cpus: int) -> dict[str, Any]:
    return {
        "num_cpus": cpus,
        "node_name": name,
        "node_ip_address": "127.0.0.1",
        "object_store_memory": OBJECT_STORE_BYTES,
    }
