"""One cluster for all tests that a process runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clusters
import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU, "a" and "b". A test that needs others, or loses one, adds them and removes them."""
    with clusters.cluster() as found:
        clusters.add_node(found, "a")
        clusters.add_node(found, "b")
        yield found
