"""Connections that do not come about: of a driver to its cluster, and of devices that share patches."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patchvsr.distributed import cluster, partners
from patchvsr.errors import ClusterError
from patchvsr.sampling.parallel import PeerLostError


class Ray:
    """As much of Ray as `_init` uses. It raises `errors`, one at each attempt, and connects then."""

    def __init__(self, *errors: Exception) -> None:
        self._errors, self.attempts = [*errors], 0

    def init(self, **options: Any) -> None:
        self.attempts += 1
        if self._errors:
            raise self._errors.pop(0)


@pytest.mark.parametrize("failures", [0, 2])
def test_a_client_whose_server_ended_connects_again(failures: int) -> None:
    ray = Ray(*[ConnectionAbortedError("Starting Ray client server failed")] * failures)
    cluster._init(ray, "ray://head:10001")
    assert ray.attempts == failures + 1


@pytest.mark.parametrize(
    ("error", "attempts"), [(ConnectionAbortedError("server failed"), 3), (ConnectionError("timed out"), 1)]
)
def test_a_cluster_that_cannot_be_reached_is_named(error: Exception, attempts: int) -> None:
    ray = Ray(*[error] * 9)
    with pytest.raises(ClusterError, match=f"no Ray cluster at 'ray://head:10001': {error}"):
        cluster._init(ray, "ray://head:10001")
    assert ray.attempts == attempts


def test_a_device_that_does_not_come_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partners, "MEETING", timedelta(seconds=1))
    with pytest.raises(PeerLostError, match="did not come"):
        partners.connected(tmp_path / "meeting", 0, 2)
