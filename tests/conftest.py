"""What all tests share."""

import functools
import gc

import economy  # noqa: F401  (the first: it sets what torch reads when it is imported)

# isort: split
import command
import pytest

gc.disable()  # while all that the tests need is imported


def pytest_collection_finish() -> None:
    """What has been imported stays: keep the garbage collector from searching a million objects again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def patchvsr(capfd):
    """The whole command in this process: exit code, output and all."""
    return functools.partial(command.run_here, capfd)
