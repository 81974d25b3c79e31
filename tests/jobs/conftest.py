"""An input of four units and the digest of its whole output; each module brings its own `pipeline`."""

import pytest
from jobfiles import NARROW, digest, make_shots, run

from patchvsr.events import Planned


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("source") / "in.mkv", size=NARROW)


@pytest.fixture(scope="module")
def whole(source, pipeline):
    """The digest of the output that nothing has stopped."""
    target = source.with_name("whole.mkv")
    found = run(source, target, pipeline)
    assert next(event for event in found if isinstance(event, Planned)).units == 4
    return digest(target)
